"""Pixels to people on the floor and hands at the shelf.

Decided here: what a camera and a detector are, where people stand and where their hands are. Left to ``fusion``: whose
hand took what. Nobody is recognised: a track is a number that ends with the visit.
"""
