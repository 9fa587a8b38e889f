"""Pixels to people on the floor, hands at the shelf, products in hands. Nothing here yet: bodies come from recordings."""
