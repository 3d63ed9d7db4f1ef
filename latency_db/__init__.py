"""A trustworthy, queryable answer to "how long will this take on that device?"."""

__version__ = "0.1.0"
