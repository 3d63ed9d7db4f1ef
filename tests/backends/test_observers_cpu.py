"""What is seen of a CPU, on a machine of files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.observers import Observation, merged
from backends.observers.cpu import STOLEN_SHARE, WAITED_SHARE, CpuObserver
from tests.backends.fake_kernel import TICK_MS, FakeKernel


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    return FakeKernel(tmp_path)


def observer_of(kernel: FakeKernel) -> CpuObserver:
    return CpuObserver(proc=kernel.proc, sys=kernel.sys, now=lambda: kernel.seconds)


@pytest.fixture
def observer(kernel: FakeKernel) -> Iterator[CpuObserver]:
    opened = observer_of(kernel)
    yield opened
    opened.close()


def test_everything_that_there_is(kernel: FakeKernel, observer: CpuObserver) -> None:
    observer.begin()
    kernel.advance(40)
    kernel.wait("77", 5_000_000 + 1_500_000)
    kernel.wait("78", 500_000)
    kernel.tick(4, 0)
    found = observer.end()
    assert dict(found.values) == {
        "observed_ms": 40.0,
        "run_queue_wait_ms": 2.0,
        "run_queue_longest_wait_ms": 1.5,
        "steal_ms": 0.0,
        "cgroup_throttled_periods": 0,
        "cgroup_throttled_ms": 0.0,
        "governor": "powersave",
        "frequency_mhz": 3400.0,
        "load_1min": 1.25,
        "peak_resident_mib": 200.0,
    }
    assert found.flags == ()
    assert (kernel.proc / "self" / "clear_refs").read_text() == "5", "the peak is this visit's"


def test_only_what_a_visit_adds_counts(kernel: FakeKernel, observer: CpuObserver) -> None:
    for _ in range(2):
        observer.begin()
        kernel.advance(10)
        kernel.wait("77", 9_000_000)
        kernel.tick(1, 5)
        kernel.quota_v2("/outer/inner", {"outer/inner": (9, 900)})
        found = observer.end()
    assert found.values["run_queue_wait_ms"] == 0.0
    assert found.values["steal_ms"] == 5 * TICK_MS
    assert (found.values["cgroup_throttled_periods"], found.values["cgroup_throttled_ms"]) == (0, 0.0)


@pytest.mark.parametrize(("share", "flags"), [(0.098, ()), (0.102, ("contended",))])
def test_a_thread_that_waited_too_long_is_contention(
    kernel: FakeKernel, observer: CpuObserver, share: float, flags: tuple[str, ...]
) -> None:
    observer.begin()
    kernel.advance(50)
    kernel.wait("78", round(share * 50e6))
    assert observer.end().flags == flags


def test_many_threads_that_waited_a_little_each_are_none(kernel: FakeKernel, observer: CpuObserver) -> None:
    observer.begin()
    kernel.advance(50)
    for thread in range(100, 140):
        kernel.wait(str(thread), round(0.5 * WAITED_SHARE * 50e6))
    found = observer.end()
    assert found.values["run_queue_wait_ms"] == pytest.approx(40 * 0.5 * WAITED_SHARE * 50)
    assert found.flags == ()


def test_a_thread_that_began_meanwhile_counts_and_one_that_ended_does_not(
    kernel: FakeKernel, observer: CpuObserver
) -> None:
    observer.begin()
    kernel.advance(50)
    shutil.rmtree(kernel.proc / "self" / "task" / "77")
    kernel.wait("79", 1_000_000)
    assert observer.end().values["run_queue_wait_ms"] == 1.0


@pytest.mark.parametrize(
    ("busy", "stolen", "flags"),
    [
        (4, 0, ()),
        (4, 1, ()),  # One tick may have been stolen before the visit.
        (4, 2, ("contended",)),
        (27, 3, ()),  # Two for certain, of thirty.
        (26, 4, ()),
        (25, 5, ("contended",)),
    ],
)
def test_time_that_was_stolen_for_certain_is_contention(
    kernel: FakeKernel, observer: CpuObserver, busy: int, stolen: int, flags: tuple[str, ...]
) -> None:
    assert STOLEN_SHARE == 0.1
    observer.begin()
    kernel.advance(40)
    kernel.tick(busy, stolen)
    found = observer.end()
    assert found.flags == flags
    assert found.values["steal_ms"] == stolen * TICK_MS


@pytest.mark.parametrize("stopped", [(4, 700), (3, 701)])
def test_a_quota_that_stopped_the_process_is_throttling(
    kernel: FakeKernel, observer: CpuObserver, stopped: tuple[int, int]
) -> None:
    observer.begin()
    kernel.advance(40)
    kernel.quota_v2("/outer/inner", {"outer/inner": stopped})
    found = observer.end()
    assert found.flags == ("throttled",)
    assert found.values["cgroup_throttled_periods"] == stopped[0] - 3
    assert found.values["cgroup_throttled_ms"] == pytest.approx((stopped[1] - 700) / 1e3)


def test_the_quota_of_a_group_around_it_counts(kernel: FakeKernel, observer: CpuObserver) -> None:
    observer.begin()
    kernel.quota_v2("/outer/inner", {"outer": (1, 250)})
    found = observer.end()
    assert found.values["cgroup_throttled_ms"] == 0.25
    assert found.flags == ("throttled",)


def test_groups_without_a_quota_are_not_read(kernel: FakeKernel) -> None:
    for folder, said in (("outer", "max 100000\n"), ("outer/inner", "50000 100000\n")):
        kernel.write(kernel.sys / "fs" / "cgroup" / folder / "cpu.max", said)
    observer = observer_of(kernel)
    observer.begin()
    # Without a quota this cannot be: what the file says of it is not looked at.
    text = "nr_throttled 9\nthrottled_usec 9000\n"
    kernel.write(kernel.sys / "fs" / "cgroup" / "outer" / "cpu.stat", text)
    found = observer.end()
    assert found.values["cgroup_throttled_periods"] == 0 and found.flags == ()
    observer.close()


@pytest.mark.parametrize("quota", ["cpu.cfs_quota_us", "cpu.max"])
def test_where_no_group_has_a_quota_there_is_nothing_to_see(kernel: FakeKernel, quota: str) -> None:
    shutil.rmtree(kernel.sys / "fs")
    kernel.quota_v1("/a", "a", 1, 1)
    group = kernel.sys / "fs" / "cgroup" / "cpu,cpuacct" / "a"
    (group / "cpu.cfs_quota_us").unlink()
    kernel.write(group / quota, "-1\n" if quota == "cpu.cfs_quota_us" else "max 100000\n")
    observer = observer_of(kernel)
    observer.begin()
    assert "cgroup_throttled_ms" not in observer.end().values
    assert observer.sources()["cgroup throttling"] == "no control group around this process has a quota"
    observer.close()


@pytest.mark.parametrize(("path", "folder"), [("/a/b", "a/b"), ("/docker/of/the/host", "")])
def test_control_groups_of_version_1(kernel: FakeKernel, path: str, folder: str) -> None:
    shutil.rmtree(kernel.sys / "fs")
    kernel.quota_v1(path, folder, 2, 1_000_000)
    observer = observer_of(kernel)
    observer.begin()
    kernel.quota_v1(path, folder, 3, 4_500_000)
    found = observer.end()
    assert (found.values["cgroup_throttled_periods"], found.values["cgroup_throttled_ms"]) == (1, 3.5)
    observer.close()


def test_the_clock_is_that_of_the_processor_that_it_ran_on(kernel: FakeKernel, observer: CpuObserver) -> None:
    stat = kernel.proc / "thread-self" / "stat"
    kernel.write(stat, stat.read_text().replace(" 1 0 0", " 0 0 0"))
    observer.begin()
    found = observer.end().values
    assert (found["governor"], found["frequency_mhz"]) == ("performance", 1200.0)


def test_clock_and_load_are_read_once_a_second(kernel: FakeKernel, observer: CpuObserver) -> None:
    found = []
    for load in ("1.0", "2.0", "3.0"):
        kernel.write(kernel.proc / "loadavg", f"{load} 0 0 1/1 1\n")
        observer.begin()
        kernel.advance(600)
        found.append(observer.end().values["load_1min"])
    assert found == [1.0, 1.0, 3.0]


def test_without_cpufreq_the_clock_is_from_cpuinfo_and_the_governor_left_out(
    kernel: FakeKernel, observer: CpuObserver
) -> None:
    shutil.rmtree(kernel.sys / "devices")
    observer.begin()
    found = observer.end().values
    assert found["frequency_mhz"] == 2445.42
    assert "governor" not in found
    missing = {name for name, why in observer.sources().items() if why is not None}
    assert missing == {"governor"}


def test_a_peak_that_cannot_be_reset_is_left_out(kernel: FakeKernel, observer: CpuObserver) -> None:
    (kernel.proc / "self" / "clear_refs").unlink()
    observer.begin()
    assert "peak_resident_mib" not in observer.end().values
    assert "clear_refs" in (observer.sources()["peak memory"] or "")


def test_where_there_is_nothing_nothing_is_made_up(kernel: FakeKernel, tmp_path: Path) -> None:
    observer = CpuObserver(proc=tmp_path / "no", sys=tmp_path / "no", now=lambda: kernel.seconds)
    observer.begin()
    kernel.advance(3)
    found = observer.end()
    assert dict(found.values) == {"observed_ms": 3.0} and found.flags == ()
    assert all(observer.sources().values()), "each says why not"
    observer.close()
    observer.close()


def test_on_this_machine_it_looks_and_finds_something() -> None:
    observer = CpuObserver()
    observer.begin()
    found = observer.end()
    observer.close()
    assert isinstance(found.values["observed_ms"], float)


def test_what_was_seen_cannot_be_changed() -> None:
    found = Observation(values={"a_ms": 1.0})
    with pytest.raises(TypeError):
        found.values["a_ms"] = 2.0  # type: ignore[index]


def test_observations_of_several_observers_are_one() -> None:
    one = Observation(values={"a_ms": 1.0}, flags=("throttled",))
    two = Observation(values={"b_w": 2}, flags=("contended", "throttled"))
    assert merged([one, two]) == Observation(values={"a_ms": 1.0, "b_w": 2}, flags=("contended", "throttled"))
    assert merged([]) == Observation()
