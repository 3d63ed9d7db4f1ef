"""What only a CUDA device can show: the tests marked ``gpu``, the space profiled and validated, and benchmarks on it.

Each entry is a process with a limit of its own, the essential ones first; one that fails, or that takes too long, keeps
its own words and does not stop the others. What is complete is not done again by the next call, and what is not goes on
where it was. That holds for one GPU, driver, set of versions and commit; for another one all begins anew, in a folder
of its own. Writes ``runs/gpu_check.json`` (or ``--out``), and beside it the folders with what the entries say. Exits 3
where there is no CUDA device, 1 where something is not complete or not within its bounds.

With --publish nothing is run: what is there goes to docs/results/gpu and docs/images, for `make docs`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

from _common import provenance, versions
from _gpu_plan import ROOT, STEPS, Entry, Identity, State, entries, last_words, put_aside, sealed, state

from backends import nvml
from backends.environment import gpu_slug
from backends.errors import RuntimeMissingError

NO_DEVICE = 3
SHORTEST_S = 15.0
"""With less time than that nothing is begun."""
GRACE_S = 10.0
"""For a process that was asked to stop: what it measured is stored, its run is to be marked as interrupted."""
PUBLISHED = (
    "backends",
    "two_targets",
    "compare",
    "predicted_latency",
    "search_step",
    "search_step_bfloat16",
    "timings",
)

RUNTIMES = ("tensorrt", "tensorrt-rtx-cu13", "cuda-python", "pycuda", "onnxscript")
"""Beside those that every benchmark names."""
NOT_BEGUN = "not begun: no time is left in this call"
BEFORE = "done before"
SUMMARY = "check.json"
"""Of a folder, how its entries went: the same as the summary beside it, for what was checked last."""

Run = Callable[[list[str], Path, float], int | None]


def identity() -> Identity:
    """The GPU, its driver, the versions of all that runs on it, and the commit; None for what cannot be told."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    found: Identity = {
        "gpu": torch.cuda.get_device_name(),
        "uuid": None if uuid is None else f"GPU-{uuid}",
        "driver": None,
        "commit": commit(),
    }
    with suppress(RuntimeMissingError):
        found["driver"] = nvml.first_gpu().driver
        with nvml.opened() as (api, gpu):
            found["uuid"] = nvml.uuid_of(api, gpu)
    runtimes = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "torch": str(torch.__version__)}
    for name in RUNTIMES:
        with suppress(PackageNotFoundError):
            runtimes[name] = version(name)
    return {**found, "versions": {"python": sys.version.split()[0], **versions(), **runtimes}}


def commit() -> str | None:
    """Of this very code; None where that is no clone, or there is no git."""
    try:
        said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip() or None


def folder_of(on: Identity) -> str:
    """The name of the folder for what is made on it: documents, databases and all."""
    digest = hashlib.sha256(json.dumps(on, sort_keys=True).encode()).hexdigest()
    return f"{gpu_slug(on['gpu'])}-{digest[:12]}"


def run(command: list[str], log: Path, seconds: float) -> int | None:
    """The exit code of a process whose words go to a file; None where it was stopped, with all that it had started."""
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
        stopped = True
        try:
            code = process.wait(timeout=seconds)
            stopped = False
        except subprocess.TimeoutExpired:
            return None
        finally:  # Ctrl-C and SIGTERM reach this process alone: the other one has a session of its own.
            _end(process, stopped)
        return code


def _end(process: subprocess.Popen[bytes], stopped: bool) -> None:
    """Leave nothing running that would disturb the next entry. What has to be stopped is asked to stop, first."""
    try:
        if stopped:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
                _await_group(process, GRACE_S)
    finally:
        with suppress(ProcessLookupError):  # All of them have ended.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_group(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until all of its group have ended, or time is up.

    Raises:
        ProcessLookupError: they have.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process.poll()
        os.killpg(process.pid, 0)
        time.sleep(0.05)


def check(
    todo: Iterable[Entry],
    folder: Path,
    seconds: float,
    on: Identity,
    *,
    told: Callable[[dict[str, str]], None] = lambda went: None,
    run: Run = run,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """How each went: ``done``, ``done before``, the bounds that it missed, or what it lacks, in its own words.

    Args:
        todo: in this order.
        folder: for what they leave.
        seconds: for all of them.
        on: see :func:`identity`.
        told: takes what is known so far, after each: the machine may be taken away at any time.
        run: runs a command.
        now: seconds, monotonic; another one in tests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = now() + seconds
    went: dict[str, str] = {}
    for entry in todo:
        went[entry.name] = attempt(entry, folder, min(entry.limit_s, end - now()), on, run)
        print(f"{entry.name}: {went[entry.name]}", file=sys.stderr, flush=True)
        told(went)
    return went


def attempt(entry: Entry, folder: Path, limit_s: float, on: Identity, run: Run) -> str:
    """One entry, unless it is complete already or too little time is left; how it went."""
    earlier = state(entry, folder, on)
    if earlier.complete:
        return _words(earlier, BEFORE)
    if limit_s < SHORTEST_S:
        return NOT_BEGUN
    output, log = entry.output(folder), entry.log(folder)
    # What an earlier call left stays until there is something to take its place.
    fresh = output.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    print(f"{entry.name}: at most {limit_s:.0f} s", file=sys.stderr, flush=True)
    code = run([*entry.command, "--output", str(fresh)], log, limit_s)
    how = f"{f'not done in {limit_s:.0f} s' if code is None else f'exit code {code}'}: {last_words(log)}"
    if not fresh.exists():
        return how
    try:
        document = sealed(entry, json.loads(fresh.read_text(encoding="utf-8")), on, code, how)
    except (ValueError, TypeError):
        put_aside(fresh)
        return how
    write_whole(fresh, document)
    fresh.replace(output)
    return _words(state(entry, folder, on), "done")


def _words(found: State, done: str) -> str:
    if found.missed is not None:
        return f"bounds missed: {found.missed}"
    return found.lacks or done


def write_whole(path: Path, document: Mapping[str, Any]) -> None:
    """All of it or nothing: the machine may be taken away at any time."""
    begun = path.with_suffix(".begun")
    begun.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    begun.replace(path)


def known(summary: Path) -> dict[str, dict[str, str]]:
    """How entries went by earlier calls, and when."""
    try:
        return {name: dict(one) for name, one in json.loads(summary.read_text(encoding="utf-8"))["entries"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        put_aside(summary)
        return {}


def together(earlier: dict[str, dict[str, str]], went: Mapping[str, str], date: str) -> dict[str, dict[str, str]]:
    """What is known of all entries. One that this call did not get to, or found done, is as it was found then."""
    found = dict(earlier)
    for name, how in went.items():
        before = found.get(name, {"how": ""})["how"]
        if name not in found or not (how in (NOT_BEGUN, before) or (how == BEFORE and before.startswith("done"))):
            found[name] = {"how": how, "date": date}
    return found


def publish(summary: Path, docs: Path) -> list[str]:
    """Copy documents, pictures and validations to where the documentation has them; their names."""
    name = json.loads(summary.read_text(encoding="utf-8")).get("folder") if summary.exists() else None
    if name is None:
        return []
    folder = summary.parent / summary.stem / name
    results, images = docs / "results" / "gpu", docs / "images"
    results.mkdir(parents=True, exist_ok=True)
    copies = [(folder / f"{name}.json", results / f"{name}.json") for name in PUBLISHED]
    copies += [(summary, results / "check.json")]
    copies += [(picture, images / f"gpu-{picture.name}") for picture in sorted((folder / "pictures").glob("*.png"))]
    reports = sorted((folder / STEPS).glob("*/report.json"))
    copies += [(report, results / f"validation-{report.parent.name}.json") for report in reports]
    there = [(source, target) for source, target in copies if source.exists()]
    for source, target in there:
        shutil.copy(source, target)
    return [target.name for _, target in there]


def chosen(found: list[Entry], only: list[str] | None, essential: bool) -> list[Entry]:
    """The entries that are asked for.

    Raises:
        ValueError: there is none of that name, or none is left.
    """
    names = [entry.name for entry in found]
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise ValueError(f"there is no entry {', '.join(map(repr, unknown))}; there are: {', '.join(names)}")
    todo = [entry for entry in found if (not essential or entry.essential) and (not only or entry.name in only)]
    if not todo:
        raise ValueError("none of the entries that --only names is an essential one")
    return todo


def main() -> int:
    """Check, write the JSON, and say in one line how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu_check.json", help="where the JSON goes")
    parser.add_argument("--camvid", type=Path, help="train on it, too: train/, trainannot/, val/, valannot/")
    parser.add_argument("--minutes", type=float, default=60.0, help="for this call; the next one goes on")
    parser.add_argument("--essential", action="store_true", help="only the tests, the space and its targets")
    parser.add_argument("--only", nargs="+", metavar="ENTRY", help="only these")
    parser.add_argument("--publish", action="store_true", help="run nothing, copy what is there into docs/")
    options = parser.parse_args()
    out: Path = options.out
    if options.publish:
        copied = publish(out, ROOT / "docs")
        print(f"copied: {', '.join(copied) or 'nothing is there'}")
        return 0 if copied else 1
    try:
        chosen(entries(out.parent, options.camvid), options.only, options.essential)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device here: nothing was checked")
        return NO_DEVICE
    on = identity()
    folder = (out.parent / out.stem / folder_of(on)).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"made": {"on": on}, "folder": folder.name, **provenance()}
    earlier = known(folder / SUMMARY)

    def write(went: dict[str, str]) -> None:
        document = {**about, "entries": together(earlier, went, about["date"])}
        for path in (folder / SUMMARY, out):
            write_whole(path, document)

    write({})
    todo = chosen(entries(folder, options.camvid), options.only, options.essential)
    went = check(todo, folder, 60 * options.minutes, on, told=write)
    missed = [name for name, how in went.items() if how.startswith("bounds missed")]
    unfinished = [name for name, how in went.items() if name not in missed and not how.startswith("done")]
    print(f"{len(went)} entries, {len(unfinished)} not complete, {len(missed)} not within bounds: {out}")
    return 1 if unfinished or missed else 0


def _stop(number: int, frame: FrameType | None) -> None:
    """What this program started is stopped on the way out."""
    raise SystemExit(128 + number)


def begin() -> None:
    """The program: stopped by a signal, it ends what it has started, and itself."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # As nohup has it.
            signal.signal(number, _stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; the next call goes on", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    begin()
