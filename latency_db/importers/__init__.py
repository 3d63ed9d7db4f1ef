"""Latencies that others published, each from the file as they published it. Nothing in such a file is executed."""
