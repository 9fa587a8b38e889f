"""The words of the project as frozen records: stdlib and numpy only, no I/O, no clock reading.

Decided here: what a batch, a body, a weight event, a basket event, a visit and an amount of money *are*.
Left to others: how they are sensed (``shelf``, ``vision``), stored (``bus``), explained (``fusion``), charged
(``billing``).
"""
