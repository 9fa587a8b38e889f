"""Load cells to weight events.

Decided here: tare, noise and health of a plate, and when mass moved, how much and how surely. Left to ``fusion``: whose
hand it was and what the grams are called.
"""
