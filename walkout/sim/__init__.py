"""A store that never opened: simulated plates and bodies with exact truth.
"""
