"""The latency table that FasterSeg's authors published: 667 operators on a GTX 1080 Ti under TensorRT 5.1.5, in ms.

https://github.com/VITA-Group/FasterSeg (MIT). A key says what was timed: the class of their module, height and width of
its input, channels, stride. All of it was timed for an image of 1024×2048, one at a time, in float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.protocol import Target
from latency_db.errors import ImportFormatError, InputError
from latency_db.importers import plain_pickle
from latency_db.keys import MERGE, ImageSize, OpSpec
from latency_db.schema import Provenance
from latency_db.store import Store

DEVICE = "1080ti"
IMAGE = ImageSize(1024, 2048)
SCALES = (1, 2, 4, 8, 16, 32)
FINEST = 8
"""The scale at which the branches are joined."""
HEAD_CHIS = (8, 12)
"""χ_h of their student and of their teacher: a branch ends in χ_h · 8 channels."""
BRANCHES = (1, 2, 3)

# How what was timed differs from this project's operator of the same name.
IDENTITY = "identity"
"""A skip at stride 1: an identity was timed. It is not zero, though such a skip costs a network nothing."""
NEAREST_RESIZE = "nearest resize"
"""Resized to the nearest neighbour, where the operator interpolates bilinearly."""
NO_RESIZE = "resize not covered"
"""The 3×3 convolution of a merge alone, on a map that had already been resized and concatenated."""
NO_CONCATENATION = "concatenation not covered"
"""The 1×1 convolution of a fusion alone, on a map that had already been concatenated."""
NARROW = "narrower middle"
"""Above 256 channels their classifier halves them between its two convolutions; ours keeps them."""

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PLAUSIBLE_MS = (1e-6, 1e6)
"""From a nanosecond to a quarter of an hour: what lies outside is no operator's latency."""

_CELL = ("H", "W", "Cin", "Cout", "stride", "dilation")
_FIELDS = {
    "BasicResidual1x": _CELL,
    "BasicResidual2x": _CELL,
    "BasicResidual_downup_1x": _CELL,
    "BasicResidual_downup_2x": _CELL,
    "FactorizedReduce": ("H", "W", "Cin", "Cout", "stride"),
    "ConvNorm": ("H", "W", "Cin", "Cout", "kernel", "stride"),
    "ff": ("H", "W", "C"),
    "head": ("H", "W", "Cin", "Cout"),
}
_LAYOUTS = {
    # A number is written in one way only, so that no two keys mean the same.
    name: re.compile(name + "".join(f"_{field}(?P<{field}>[1-9][0-9]{{0,5}})" for field in fields))
    for name, fields in _FIELDS.items()
}
_CELL_OPERATORS = {
    "BasicResidual1x": "conv",
    "BasicResidual2x": "conv_x2",
    "BasicResidual_downup_1x": "zoomed_conv",
    "BasicResidual_downup_2x": "zoomed_conv_x2",
    "FactorizedReduce": "skip",
}


@dataclass(frozen=True)
class Reading:
    """What a key stands for.

    Attributes:
        specs: the operators whose latency it is; more than one where the table cannot tell them apart.
        flags: how what was timed differs from them.
    """

    specs: tuple[OpSpec, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableRow:
    """One row of the file."""

    key: str
    latency_ms: float
    reading: Reading


@dataclass(frozen=True)
class TableImport:
    """How many rows the file had, how many of them were new, and what they are latencies of."""

    rows: int
    added: int
    target: Target


def published_target(device: str = DEVICE) -> Target:
    """What the published latencies are of, as far as the paper and the code say.

    Args:
        device: the slug to file it under.

    Raises:
        InputError: an empty one.
    """
    if not _SLUG.fullmatch(device):
        raise InputError(f"{device!r} is no name for a device: letters, digits, . _ -", hint=f"--device {DEVICE}")
    return Target(
        device=device,
        device_name="NVIDIA GeForce GTX 1080 Ti",
        backend="trt",
        runtime="tensorrt",
        runtime_version="5.1.5",
        precision="fp32",
        settings={},
        fingerprint="published-table",
        environment={
            "source": "FasterSeg's published latency table, https://github.com/VITA-Group/FasterSeg, MIT license",
            "cuda": "10.0",
            "cudnn": "7",
            "protocol": "about six seconds per operator, mean",
            "batch": 1,
        },
    )


def parse_key(key: str) -> Reading:
    """The operators that a key of the table stands for.

    Raises:
        ValueError: it stands for none; the message says why, without the key.
    """
    for name, layout in _LAYOUTS.items():
        match = layout.fullmatch(key)
        if match is not None:
            sizes = {field: int(number) for field, number in match.groupdict().items()}
            return _reading(name, _scale(sizes["H"], sizes["W"]), sizes)
    raise ValueError("no operator of FasterSeg is called so")


def _scale(height: int, width: int) -> int:
    for s in SCALES:
        if IMAGE.at(s) == (height, width):
            return s
    raise ValueError(f"{height}x{width} is no feature map of an image of {IMAGE}")


def _reading(name: str, s: int, sizes: Mapping[str, int]) -> Reading:
    if name == "ff":
        return _fuse(s, sizes["C"])
    if name == "head":
        return _classify(s, sizes["Cin"], sizes["Cout"])
    if name == "ConvNorm":
        return _conv_norm(s, sizes["Cin"], sizes["Cout"], sizes["kernel"], sizes["stride"])
    if sizes.get("dilation", 1) != 1:
        raise ValueError("a dilated one is none of the search space")
    return _cell(_CELL_OPERATORS[name], s, sizes["Cin"], sizes["Cout"], sizes["stride"])


def _cell(op: str, s: int, c_in: int, c_out: int, stride: int) -> Reading:
    if stride not in (1, 2):
        raise ValueError(f"stride {stride} is neither 1 nor 2")
    flags: tuple[str, ...] = ()
    if op == "skip" and stride == 1:
        flags = (IDENTITY,)
    elif op.startswith("zoomed"):
        flags = (NEAREST_RESIZE,)
    return Reading((_spec(op, s, c_in, c_out, stride),), flags)


def _conv_norm(s: int, c_in: int, c_out: int, kernel: int, stride: int) -> Reading:
    """The stem's convolutions, and the decoder's: 1×1 before a map goes up, 3×3 where it has met the finer one."""
    if (kernel, stride) == (3, 2):
        return Reading((_spec("conv", s, c_in, c_out, stride),))
    if (kernel, stride) == (1, 1):
        return Reading((_spec("reduce", s, c_in, c_out),))
    if (kernel, stride) == (3, 1):
        if c_in <= c_out:
            raise ValueError(f"a join of {c_in} channels has none beside the {c_out} that come up")
        return Reading((_spec(MERGE, s, c_in, c_out),), (NO_RESIZE,))
    raise ValueError(f"a {kernel}x{kernel} convolution of stride {stride} is none of the search space")


def _fuse(s: int, width: int) -> Reading:
    """A fusion of b branches of χ_h · 8 channels each.

    The key gives the sum of the widths alone, and 192 is both 3 · 64 and 2 · 96. Their script writes that key for both,
    and what it times, a 1×1 convolution on a map already concatenated, is the same for both. So it is stored for both:
    the student's space with three branches and the teacher's with two find the latency that the authors used for them.
    """
    if s != FINEST:
        raise ValueError(f"branches are joined at 1/{FINEST}, not at 1/{s}")
    joined = [branches for branches in BRANCHES for chi in HEAD_CHIS if branches * chi * FINEST == width]
    if not joined:
        raise ValueError(f"{width} channels are not one to three branches of 64 or of 96")
    specs = tuple(_spec("fuse", s, width, width, branches=branches) for branches in joined)
    return Reading(specs, (NO_CONCATENATION,) if max(joined) > 1 else ())


def _classify(s: int, c_in: int, classes: int) -> Reading:
    if s != FINEST:
        raise ValueError(f"pixels are classified at 1/{FINEST}, not at 1/{s}")
    return Reading((_spec("classify", s, c_in, classes),), (NARROW,) if c_in > 256 else ())


def _spec(op: str, s: int, c_in: int, c_out: int, stride: int = 1, branches: int = 1) -> OpSpec:
    return OpSpec(op, s, c_in, c_out, stride, IMAGE, 1, branches)


def read(path: Path) -> list[TableRow]:
    """The rows of a published table, in its order.

    Raises:
        InputError: the file cannot be read.
        ImportFormatError: it is no such table; the message names the key that is none, where it is one.
    """
    rows = []
    owners: dict[OpSpec, str] = {}
    for key, latency_ms in plain_pickle.read(path).items():
        try:
            reading = parse_key(key)
        except ValueError as error:
            raise ImportFormatError(f"{path}, key {plain_pickle.shown(key)}: {error}") from None
        if not PLAUSIBLE_MS[0] <= latency_ms <= PLAUSIBLE_MS[1]:
            raise ImportFormatError(f"{path}, key {plain_pickle.shown(key)}: {latency_ms:g} ms is no latency")
        for spec in reading.specs:
            other = owners.setdefault(spec, key)
            if other != key:
                raise ImportFormatError(f"{path} has {spec.name} twice: as {other} and as {key}")
        rows.append(TableRow(key, latency_ms, reading))
    if not rows:
        raise ImportFormatError(f"{path} has no row")
    return rows


def load(store: Store, path: Path, device: str = DEVICE) -> TableImport:
    """Import the published table, in one run. All of it is read and checked before anything is stored.

    A row that is there already is not stored again. A row of 192 fused channels is one row and two operators.

    Args:
        store: where to.
        path: the ``.npy`` file as published.
        device: the slug to file it under.

    Raises:
        InputError: the file cannot be read, or the device has no name.
        ImportFormatError: the file is no such table.
    """
    target = published_target(device)
    rows = read(path)
    target_id = store.ensure_target(target)
    held = [one for one in store.raw_measurements(target_id) if one.provenance == Provenance.IMPORTED]
    known = {(one.spec, one.latency_ms) for one in held}
    new = {spec: row for row in rows for spec in row.reading.specs if (spec, row.latency_ms) not in known}
    if new:
        # A latency that contradicts a stored one begins a series: the newest counts, and the two are never averaged.
        contradicts = not new.keys().isdisjoint(one.spec for one in held)
        series = max(store.newest_series(target_id), 1) + contradicts
        with store.running(
            target_id, "import", series=series, plan={"file": path.name}, environment=dict(target.environment)
        ) as run:
            run.reason = "imported"
            added = _add(store, run.id, new)
        new = {spec: row for spec, row in new.items() if spec in added}
    return TableImport(len(rows), len({row.key for row in new.values()}), target)


def _add(store: Store, run_id: int, new: Mapping[OpSpec, TableRow]) -> set[OpSpec]:
    """Store them but for those that another process stored meanwhile; what was added."""
    ids = store.ensure_specs(list(new))
    added = store.add_values(
        run_id,
        [(ids[spec], row.latency_ms) for spec, row in new.items()],
        Provenance.IMPORTED,
        flags={ids[spec]: row.reading.flags for spec, row in new.items()},
        once=True,
    )
    return {spec for spec, id_ in ids.items() if id_ in added}
