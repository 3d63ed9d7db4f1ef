"""Runs things on devices and times them. Knows modules and inputs; never a search space, never SQL."""
