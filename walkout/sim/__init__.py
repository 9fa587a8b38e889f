"""A store that never opened: simulated plates and bodies with exact truth.

Decided here: the simulated kiosk, scripts of who does what and when, and the readings they would cause.
Left to others: feeding the records to the route (``cli``) and judging what comes out of it. Open ``scene`` first.
"""
