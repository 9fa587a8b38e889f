"""walkout: cameras and load cells in, one charged receipt per shopper out.

The reader's map: which file to open first.

1. ``domain/sensing.py`` and ``domain/shopping.py``: the words. Everything else hands these records around.
2. ``app/pipeline.py``: the route of one piece of data, top to bottom, on one page.
3. ``shelf/steps.py``: grams to weight events.
4. ``fusion/assign.py``: weight events and hands to "who took what", or to an honest "undecided".
5. ``billing/settle.py``: a closed visit to a charge, postings and a receipt, safe to repeat at any step.

``tests/test_architecture.py`` holds the table of who may import whom.
"""

__version__ = "0.1.0"
