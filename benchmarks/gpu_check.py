"""What only a CUDA device can show: the tests marked ``gpu``, the space profiled and validated, and benchmarks on it.

Each entry is a process with a limit of its own, in an order that has the essential ones done within ten minutes; one
that fails, or that takes too long, keeps its own words and does not stop the others. What is complete is not done again
by the next call, and what is not goes on where it was. Writes ``runs/gpu_check.json`` (or ``--out``), and beside it a
folder with what the entries say. Exits 3 where there is no CUDA device, 1 where something is not complete.

With --publish nothing is run: what is there goes to docs/results/gpu and docs/images, for `make docs`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from _common import provenance
from _gpu_plan import NO_DOCUMENT, ROOT, STEPS, Entry, entries, last_words, state

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

Run = Callable[[list[str], Path, float], int | None]


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
    *,
    told: Callable[[dict[str, str]], None] = lambda went: None,
    run: Run = run,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """How each went: ``done``, ``done before``, or what it lacks, in its own words.

    Args:
        todo: in this order.
        folder: for what they leave.
        seconds: for all of them.
        told: takes what is known so far, after each: the machine may be taken away at any time.
        run: runs a command.
        now: seconds, monotonic; another one in tests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = now() + seconds
    went: dict[str, str] = {}
    for entry in todo:
        went[entry.name] = attempt(entry, folder, min(entry.limit_s, end - now()), run)
        print(f"{entry.name}: {went[entry.name]}", file=sys.stderr, flush=True)
        told(went)
    return went


def attempt(entry: Entry, folder: Path, limit_s: float, run: Run) -> str:
    """One entry, unless it is complete already or too little time is left; how it went."""
    if state(entry, folder) is None:
        return "done before"
    if limit_s < SHORTEST_S:
        return "not begun: no time is left in this call"
    output, log = entry.output(folder), entry.log(folder)
    # What an earlier call left stays until there is something to take its place.
    fresh = output.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    print(f"{entry.name}: at most {limit_s:.0f} s", file=sys.stderr, flush=True)
    code = run([*entry.command, "--output", str(fresh)], log, limit_s)
    if fresh.exists():
        fresh.replace(output)
        lacks = state(entry, folder)
        if lacks != NO_DOCUMENT:
            return lacks or "done"
    how = f"not done in {limit_s:.0f} s" if code is None else f"exit code {code}"
    return f"{how}: {last_words(log)}"


def publish(summary: Path, folder: Path, docs: Path) -> list[str]:
    """Copy documents, pictures and validations to where the documentation has them; their names."""
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


def main() -> int:
    """Check, write the JSON, and say in one line how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu_check.json", help="where the JSON goes")
    parser.add_argument("--camvid", type=Path, help="train on it, too: train/, trainannot/, val/, valannot/")
    parser.add_argument("--minutes", type=float, default=60.0, help="for this call; the next one goes on")
    parser.add_argument("--essential", action="store_true", help="only what has its place in the first ten minutes")
    parser.add_argument("--only", nargs="*", metavar="ENTRY", help="only these")
    parser.add_argument("--publish", action="store_true", help="run nothing, copy what is there into docs/")
    options = parser.parse_args()
    out: Path = options.out
    folder = out.parent / out.stem
    if options.publish:
        copied = publish(out, folder, ROOT / "docs")
        print(f"copied: {', '.join(copied) or 'nothing is there'}")
        return 0 if copied else 1
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device here: nothing was checked")
        return NO_DEVICE
    todo = entries(folder.resolve(), options.camvid)
    if options.essential:
        todo = [entry for entry in todo if entry.essential]
    if options.only:
        todo = [entry for entry in todo if entry.name in options.only]
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, **provenance()}
    # What is not asked for this time is as it was.
    earlier = json.loads(out.read_text(encoding="utf-8"))["entries"] if out.exists() else {}

    def write(went: dict[str, str]) -> None:
        out.write_text(json.dumps({**about, "entries": {**earlier, **went}}, indent=2) + "\n", encoding="utf-8")

    went = check(todo, folder.resolve(), 60 * options.minutes, told=write)
    unfinished = [name for name, how in went.items() if not how.startswith("done")]
    print(f"{len(went)} entries, {len(unfinished)} not complete: {out}")
    return 1 if unfinished else 0


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
