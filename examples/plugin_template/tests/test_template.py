"""The whole test of a backend: the contract."""

from __future__ import annotations

from typing import ClassVar

from latency_db_template import TemplateBackend

from backends.protocol import Backend
from backends.testing import BackendContract


class TestTemplate(BackendContract):
    backend_class: ClassVar[type[Backend]] = TemplateBackend
    runtime_modules = ("onnx",)
