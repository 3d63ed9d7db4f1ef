"""Discrete networks: what an architecture is and the module that it makes."""
