"""Who serves a device: the one session of the database that holds the device's lock."""

from __future__ import annotations

import zlib
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL

from latency_db.queue.connection import connect, translated

if TYPE_CHECKING:
    import psycopg

CLASS = 0x6C61_7465
"""The first half of the key of every such lock; the second is made of the device's slug."""


def number_of(device: str) -> int:
    """The second half of the key: 32 bits, as ``pg_locks`` shows them."""
    return zlib.crc32(device.encode())


class DeviceLock:
    """A lock of the database that ends with the connection that holds it, however that ends.

    A worker that was killed, or whose machine is gone, serves no more as soon as the server has noticed.
    """

    def __init__(self, url: URL, device: str) -> None:
        self.url, self.device = url, device
        self._connection: psycopg.Connection[Any] | None = None

    def take(self) -> bool:
        """Take it; False where another has it.

        Raises:
            StorageError: the database cannot be reached.
        """
        with translated(self.url):
            if self._connection is None:
                self._connection = connect(self.url)
            number = number_of(self.device)
            signed = number - 2**32 if number >= 2**31 else number
            row = self._connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (CLASS, signed)).fetchone()
        return row is not None and bool(row[0])

    def is_held(self) -> bool:
        """Whether the session that took it still lives, and the lock with it."""
        import psycopg

        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def __enter__(self) -> DeviceLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            # The server takes a moment to notice that a connection was closed; who asks next is not to wait for it.
            if self.is_held():
                self._connection.execute("SELECT pg_advisory_unlock_all()")
            self._connection.close()
