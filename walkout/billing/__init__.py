"""Baskets to money: prices, charges, postings, receipts.

Decided here: what a visit owes and that it is charged once. Left to ``fusion``: what is in the basket.
"""
