"""One physical store, as data: where its furniture stands, what lies where, what it costs.

Decided here: the store folder (TOML + CSV), its checks, and look-ups in world metres. Left to others: what is
done with it. ``loader.py`` reads and writes a store folder, ``nanostore.py`` reads one public foreign format.
"""
