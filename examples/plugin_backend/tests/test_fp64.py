"""The whole test of a backend: the contract. A precision below float32 would say here how far off it may be."""

from __future__ import annotations

from typing import ClassVar

from latency_db_fp64 import Fp64Backend

from backends.protocol import Backend
from backends.testing import BackendContract


class TestFp64(BackendContract):
    backend_class: ClassVar[type[Backend]] = Fp64Backend
    runtime_modules = ("torch",)
