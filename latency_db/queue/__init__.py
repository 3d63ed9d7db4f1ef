"""Profiles that another machine runs: a queue in the PostgreSQL database, and the worker beside the device.

The queue is procrastinate's, in a schema of its own. Nothing here loads it before it is used.
"""
