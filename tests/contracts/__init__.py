"""Suites that every plugin must pass. Subclass one in a test of your own and override its fixture."""
