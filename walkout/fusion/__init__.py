"""Who took what.

Decided here: which shopper and which products best explain the weight events of a visit, and when to say "undecided".
Left to others: where the hands are (``vision`` or a recording), what it costs (``billing``).
"""
