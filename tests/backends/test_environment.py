"""What makes a machine the same machine."""

from __future__ import annotations

import pytest

from backends import environment


def test_the_description_is_plain_data_without_gaps() -> None:
    env = environment.describe()
    assert {"cpu_model", "cpu_count", "arch", "os", "kernel", "python", "memory_gib"} <= set(env)
    assert all(isinstance(value, (str, int, float)) and value != "" for value in env.values())


def test_the_fingerprint_is_stable() -> None:
    assert environment.fingerprint(environment.describe()) == environment.fingerprint(environment.describe())


@pytest.mark.parametrize("key", ["cpu_model", "cpu_flags_hash", "cpu_count", "arch", "os", "gpu"])
def test_other_hardware_is_another_machine(key: str) -> None:
    env = environment.describe()
    assert environment.fingerprint({**env, key: "other"}) != environment.fingerprint(env)


@pytest.mark.parametrize("key", ["load_1min", "kernel", "memory_gib", "python", "governor"])
def test_what_changes_under_its_feet_does_not_make_it_another(key: str) -> None:
    env = environment.describe()
    assert environment.fingerprint({**env, key: "other"}) == environment.fingerprint(env)


@pytest.mark.parametrize(
    ("model", "cores", "slug"),
    [
        ("Intel(R) Xeon(R) Processor", 2, "cpu-xeon-processor-2c"),
        ("AMD EPYC 7B13 64-Core Processor", 8, "cpu-epyc-7b13-processor-8c"),
        ("11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", 8, "cpu-core-i7-1165g7-8c"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", 2, "cpu-xeon-2c"),
        ("Apple M2 Pro", 10, "cpu-apple-m2-pro-10c"),
        ("", 1, "cpu-unknown-1c"),
    ],
)
def test_cpu_slugs(model: str, cores: int, slug: str) -> None:
    assert environment.device_slug(model, cores) == slug


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("NVIDIA GeForce GTX 1080 Ti", "1080ti"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm4"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 2080 SUPER", "2080super"),
    ],
)
def test_gpu_slugs(name: str, slug: str) -> None:
    assert environment.gpu_slug(name) == slug
