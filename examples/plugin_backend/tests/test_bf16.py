"""The whole test of a backend: the contract, with the room that its precision needs."""

from __future__ import annotations

from typing import ClassVar

from latency_db_bf16 import Bf16Backend

from backends.protocol import Backend
from backends.testing import BackendContract


class TestBf16(BackendContract):
    backend_class: ClassVar[type[Backend]] = Bf16Backend
    runtime_modules = ("torch",)
    # bfloat16 has eight bits of significand: a relative step of 1/128, and sums of some dozens of products.
    rtol = 0.05
    atol = 0.05
