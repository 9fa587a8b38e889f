"""Load cells to weight events.

Decided here: tare, noise and health of a plate, and when mass moved, how much and how surely. Left to ``fusion``: whose
hand it was and what the grams are called.

Read ``steps`` first (the detector), then ``grid`` (batches to an even time grid), ``baseline`` (level, noise, health),
``rest`` and ``moves`` (one plate between two rests), ``pauses`` (several moves in one touch), ``grouping`` (plates to
actions).
"""
