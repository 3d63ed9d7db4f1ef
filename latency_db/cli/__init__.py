"""The command line: thin over the library. Errors become one line here and nowhere else."""

from latency_db.cli.main import main

__all__ = ["main"]
