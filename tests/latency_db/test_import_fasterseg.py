"""FasterSeg's published table: every row of it comes in, once and exactly, and nothing of a file is ever executed."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import pickle
import random
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_db import transfer
from latency_db.errors import ImportFormatError, InputError
from latency_db.importers import fasterseg, plain_pickle
from latency_db.keys import OpSpec
from latency_db.store import Store
from searcher.space import FasterSegSpace
from tests.latency_db.program import invoke, the_line
from trainer.builtin import FASTERSEG_STUDENT

HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None
FORMATS = [
    "csv",
    "json",
    pytest.param("parquet", marks=pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")),
]
IMAGE = fasterseg.IMAGE

TABLE = {
    "BasicResidual1x_H128_W256_Cin64_Cout32_stride1_dilation1": 0.1 + 0.2,
    "BasicResidual_downup_2x_H64_W128_Cin64_Cout128_stride2_dilation1": 0.091649917773868,
    "FactorizedReduce_H32_W64_Cin128_Cout192_stride1": 1e-3,
    "ConvNorm_H64_W128_Cin192_Cout128_kernel3_stride1": 0.2306320931276244,
    "ff_H128_W256_C192": 1 / 3,
    "head_H128_W256_Cin288_Cout19": 2.5,
}


@pytest.fixture
def published(shared_dir: Path) -> Path:
    path = shared_dir / "data" / "fasterseg" / "latency_lookup_table.npy"
    if not path.is_file():
        pytest.skip("no published table among the reference data")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(str(tmp_path / "some.db")) as opened:
        yield opened


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """What must survive, without the numbers that each database gives by itself."""
    return {
        row.target.key: sorted(
            (one.spec, one.series, one.round, one.provenance, one.status, one.latency_ms, one.visit, one.flags)
            for one in store.raw_measurements(row.id)
        )
        for row in store.targets()
    }


# The published table


def test_what_another_process_stored_meanwhile_is_not_doubled(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.npy"
    np.save(path, np.array({"ff_H128_W256_C128": 0.17, "head_H128_W256_Cin128_Cout19": 0.66}, dtype=object))
    assert fasterseg.load(store, path).added == 2
    # As if the look at what is there had come before the other's writing.
    monkeypatch.setattr(store, "raw_measurements", lambda target_id: iter(()))
    assert fasterseg.load(store, path).added == 0
    assert sum(target.n_measurements for target in store.targets()) == 2


def test_an_interrupted_import_says_so(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.npy"
    np.save(path, np.array({"ff_H128_W256_C128": 0.17}, dtype=object))

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "add_values", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fasterseg.load(store, path)
    assert [run.status for run in store.runs()] == ["interrupted"]
    # What was never filled does not stand in the way of the model that is shipped.
    assert not store.has_latencies("1080ti")


@pytest.mark.parametrize("latency_ms", [1e308, 5e-324])
def test_what_is_no_latency_is_refused(store: Store, tmp_path: Path, latency_ms: float) -> None:
    path = tmp_path / "table.npy"
    np.save(path, np.array({"ff_H128_W256_C128": latency_ms}, dtype=object))
    with pytest.raises(ImportFormatError, match="no latency"):
        fasterseg.load(store, path)
    assert store.targets() == []


def test_every_row_of_the_published_table_comes_in(published: Path, store: Store) -> None:
    result = fasterseg.load(store, published)
    assert (result.rows, result.added) == (667, 667)
    rows = fasterseg.read(published)
    assert len({row.key for row in rows}) == 667
    assert Counter(row.reading.specs[0].op for row in rows) == {
        "conv": 125 + 4,
        "conv_x2": 125 + 4,
        "zoomed_conv": 125,
        "zoomed_conv_x2": 125,
        "skip": 125,
        "reduce": 4,
        "merge": 20,
        "fuse": 5,
        "classify": 5,
    }
    assert Counter(flag for row in rows for flag in row.reading.flags) == {
        "identity": 75,
        "nearest resize": 250,
        "resize not covered": 20,
        "concatenation not covered": 3,
        "narrower middle": 1,
    }
    (target,) = store.targets("1080ti")
    assert target.target == result.target
    assert (target.n_specs, target.n_measurements, target.provenances) == (668, 668, ("imported",))
    (run,) = store.runs()
    assert (run.kind, run.status, run.series) == ("import", "completed", 1)
    stored = {one.spec: (one.latency_ms, one.flags) for one in store.raw_measurements(target.id)}
    assert stored == {spec: (row.latency_ms, row.reading.flags) for row in rows for spec in row.reading.specs}
    assert store.flag_counts(run.id).by_flag["concatenation not covered"] == 4


@pytest.mark.parametrize("branches", [1, 2, 3])
@pytest.mark.parametrize(("head_chi", "stem"), [(8, (32, 64, 64)), (12, (48, 96, 96))])
def test_every_operator_of_the_authors_spaces_is_in_it(
    published: Path, head_chi: int, stem: tuple[int, int, int], branches: int
) -> None:
    found = {spec for row in fasterseg.read(published) for spec in row.reading.specs}
    space = FasterSegSpace(head_chi=head_chi, stem_widths=stem, branches=branches)
    assert [spec.name for spec in space.specs(IMAGE) if spec not in found] == []


def test_the_student_takes_what_the_authors_added_up(published: Path, shared_dir: Path) -> None:
    found = {spec: row.latency_ms for row in fasterseg.read(published) for spec in row.reading.specs}
    specs = FasterSegSpace().decompose(FASTERSEG_STUDENT, IMAGE).specs
    with (shared_dir / "data" / "fasterseg" / "student_decomposition.csv").open(newline="", encoding="utf-8") as file:
        wanted = sorted(float(row["latency_ms"]) for row in csv.DictReader(file) if row["branches"] == "32+16")
    assert sorted(found[spec] for spec in specs) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("file_format", FORMATS)
def test_out_and_back_in_the_published_table_is_the_same(
    published: Path, store: Store, tmp_path: Path, file_format: str
) -> None:
    fasterseg.load(store, published)
    before, runs = everything(store), len(store.runs())
    path = tmp_path / f"some.{file_format}"
    transfer.write(path, file_format, [row for one in store.targets() for row in transfer.rows(store, one)])
    again = transfer.load(store, path, file_format)
    assert (again.rows, again.added) == (668, 0)
    assert fasterseg.load(store, published).added == 0
    assert everything(store) == before and len(store.runs()) == runs
    with Store.open(str(tmp_path / "to.db")) as other:
        assert transfer.load(other, path, file_format).added == 668
        assert everything(other) == before
        assert [row.target for row in other.targets()] == [row.target for row in store.targets()]
        assert [(row.spec, row.latency_ms) for row in other.query()] == [
            (row.spec, row.latency_ms) for row in store.query()
        ]
        assert fasterseg.load(other, published).added == 0
        assert everything(other) == before


# Keys


def spec(op: str, s: int, c_in: int, c_out: int, stride: int = 1, branches: int = 1) -> OpSpec:
    return OpSpec(op, s, c_in, c_out, stride, IMAGE, 1, branches)


@pytest.mark.parametrize(
    ("key", "wanted", "flags"),
    [
        ("BasicResidual1x_H128_W256_Cin64_Cout32_stride1_dilation1", spec("conv", 8, 64, 32), ()),
        ("BasicResidual2x_H512_W1024_Cin32_Cout64_stride2_dilation1", spec("conv_x2", 2, 32, 64, 2), ()),
        ("BasicResidual2x_H256_W512_Cin96_Cout96_stride2_dilation1", spec("conv_x2", 4, 96, 96, 2), ()),
        (
            "BasicResidual_downup_1x_H64_W128_Cin64_Cout128_stride2_dilation1",
            spec("zoomed_conv", 16, 64, 128, 2),
            ("nearest resize",),
        ),
        (
            "BasicResidual_downup_2x_H32_W64_Cin128_Cout384_stride1_dilation1",
            spec("zoomed_conv_x2", 32, 128, 384),
            ("nearest resize",),
        ),
        ("FactorizedReduce_H64_W128_Cin96_Cout256_stride2", spec("skip", 16, 96, 256, 2), ()),
        ("FactorizedReduce_H64_W128_Cin96_Cout96_stride1", spec("skip", 16, 96, 96), ("identity",)),
        ("ConvNorm_H1024_W2048_Cin3_Cout48_kernel3_stride2", spec("conv", 1, 3, 48, 2), ()),
        ("ConvNorm_H512_W1024_Cin48_Cout96_kernel3_stride2", spec("conv", 2, 48, 96, 2), ()),
        ("ConvNorm_H32_W64_Cin256_Cout128_kernel1_stride1", spec("reduce", 32, 256, 128), ()),
        ("ConvNorm_H64_W128_Cin192_Cout128_kernel3_stride1", spec("merge", 16, 192, 128), ("resize not covered",)),
        ("ff_H128_W256_C64", spec("fuse", 8, 64, 64), ()),
        ("ff_H128_W256_C96", spec("fuse", 8, 96, 96), ()),
        ("ff_H128_W256_C128", spec("fuse", 8, 128, 128, branches=2), ("concatenation not covered",)),
        ("ff_H128_W256_C288", spec("fuse", 8, 288, 288, branches=3), ("concatenation not covered",)),
        ("head_H128_W256_Cin128_Cout19", spec("classify", 8, 128, 19), ()),
        ("head_H128_W256_Cin288_Cout19", spec("classify", 8, 288, 19), ("narrower middle",)),
    ],
)
def test_a_key_is_an_operator(key: str, wanted: OpSpec, flags: tuple[str, ...]) -> None:
    assert fasterseg.parse_key(key) == fasterseg.Reading((wanted,), flags)


def test_192_fused_channels_are_the_students_three_branches_and_the_teachers_two() -> None:
    reading = fasterseg.parse_key("ff_H128_W256_C192")
    assert set(reading.specs) == {spec("fuse", 8, 192, 192, branches=3), spec("fuse", 8, 192, 192, branches=2)}


@pytest.mark.parametrize(
    "key",
    [
        "",
        "conv",
        "BasicResidual1x",
        "BasicResidual3x_H128_W256_Cin64_Cout32_stride1_dilation1",
        "BasicResidual1x_H128_W256_Cin64_Cout32_stride1_dilation2",
        "BasicResidual1x_H128_W256_Cin64_Cout32_stride3_dilation1",
        "BasicResidual1x_H128_W256_Cin64_Cout32_stride1",
        "BasicResidual1x_H128_W256_Cin64_Cout32_stride1_dilation1 ",
        "BasicResidual1x_H128_W256_Cin64_Cout32_stride1_dilation1\n",
        "BasicResidual1x_H128_W256_Cin064_Cout32_stride1_dilation1",
        "BasicResidual1x_H128_W256_Cin0_Cout32_stride1_dilation1",
        "BasicResidual1x_H128_W256_Cin6\u0664_Cout32_stride1_dilation1",
        "BasicResidual1x_H128_W256_Cin9999999999_Cout32_stride1_dilation1",
        "BasicResidual1x_H128_W128_Cin64_Cout32_stride1_dilation1",
        "BasicResidual1x_H100_W200_Cin64_Cout32_stride1_dilation1",
        "BasicResidual1x_H16_W32_Cin64_Cout32_stride1_dilation1",
        "BasicResidual1x_H2048_W4096_Cin64_Cout32_stride1_dilation1",
        "ConvNorm_H128_W256_Cin128_Cout64_kernel5_stride1",
        "ConvNorm_H128_W256_Cin128_Cout64_kernel1_stride2",
        "ConvNorm_H128_W256_Cin64_Cout64_kernel3_stride1",
        "ff_H128_W256_C80",
        "ff_H64_W128_C128",
        "head_H64_W128_Cin128_Cout19",
        "\u2028line",
    ],
)
def test_a_key_that_is_none_refuses_the_file_and_is_named(
    store: Store, tmp_path: Path, key: str, one_line: Callable[[BaseException], str]
) -> None:
    np.save(tmp_path / "some.npy", np.array({**TABLE, key: 1.0}, dtype=object))
    with pytest.raises(ImportFormatError) as caught:
        fasterseg.load(store, tmp_path / "some.npy")
    assert plain_pickle.shown(key) in one_line(caught.value)
    assert store.targets() == [] and store.runs() == [] and store.devices() == []


def test_two_keys_of_one_operator_refuse_the_file(store: Store, tmp_path: Path) -> None:
    twice = {
        "BasicResidual1x_H128_W256_Cin64_Cout128_stride2_dilation1": 1.0,
        "ConvNorm_H128_W256_Cin64_Cout128_kernel3_stride2": 1.0,
    }
    np.save(tmp_path / "some.npy", np.array(twice, dtype=object))
    with pytest.raises(ImportFormatError, match="twice"):
        fasterseg.load(store, tmp_path / "some.npy")
    assert store.targets() == []


# Storing


def saved(path: Path, table: object) -> Path:
    np.save(path, np.array(table, dtype=object))
    return path


def test_importing_twice_adds_nothing(store_url: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "some.npy", TABLE)
    with Store.open(store_url) as store:
        first = fasterseg.load(store, path)
        assert (first.rows, first.added) == (6, 6)
        before = everything(store)
        second = fasterseg.load(store, path)
        assert (second.rows, second.added) == (6, 0)
        assert everything(store) == before and len(store.runs()) == 1
        assert fasterseg.load(store, path, "another").added == 6
        assert {row.target.device for row in store.targets()} == {"1080ti", "another"}


def test_what_is_new_is_added_and_what_contradicts_counts(store: Store, tmp_path: Path) -> None:
    fasterseg.load(store, saved(tmp_path / "some.npy", TABLE))
    changed = {**TABLE, "ff_H128_W256_C192": 0.5, "ff_H128_W256_C64": 0.25}
    path = saved(tmp_path / "changed.npy", changed)
    result = fasterseg.load(store, path)
    assert (result.rows, result.added) == (7, 2)
    assert fasterseg.load(store, path).added == 0
    (target,) = store.targets()
    latencies = {found.spec: found.latency_ms for found in store.query()}
    assert latencies == {one: ms for key, ms in changed.items() for one in fasterseg.parse_key(key).specs}
    assert target.series == 2


def test_a_device_without_a_name_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--device"):
        fasterseg.load(store, saved(tmp_path / "some.npy", TABLE), " ")


def test_an_empty_table_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImportFormatError, match="no row"):
        fasterseg.load(store, saved(tmp_path / "some.npy", {}))


@pytest.mark.parametrize("file_format", FORMATS)
def test_flags_of_values_survive_export_and_import(store: Store, tmp_path: Path, file_format: str) -> None:
    fasterseg.load(store, saved(tmp_path / "some.npy", TABLE))
    path = tmp_path / f"some.{file_format}"
    transfer.write(path, file_format, [row for one in store.targets() for row in transfer.rows(store, one)])
    with Store.open(str(tmp_path / "to.db")) as other:
        transfer.load(other, path, file_format)
        assert everything(other) == everything(store)
        counts = Counter(flag for one in other.raw_measurements(1) for flag in one.flags)
    assert counts == {
        "nearest resize": 1,
        "identity": 1,
        "resize not covered": 1,
        "concatenation not covered": 2,
        "narrower middle": 1,
    }


def test_an_import_of_several_runs_reads_a_target_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasterseg.load(store, saved(tmp_path / "some.npy", TABLE))
    fasterseg.load(store, saved(tmp_path / "more.npy", {"ff_H128_W256_C64": 0.25, "ff_H128_W256_C96": 0.5}))
    fasterseg.load(store, saved(tmp_path / "last.npy", {"ff_H128_W256_C64": 0.125}))
    path = tmp_path / "some.json"
    transfer.write(path, "json", [row for one in store.targets() for row in transfer.rows(store, one)])
    reads: list[int] = []
    original = Store.raw_measurements

    def counted(self: Store, target_id: int) -> Any:
        reads.append(target_id)
        return original(self, target_id)

    with Store.open(str(tmp_path / "to.db")) as other:
        monkeypatch.setattr(Store, "raw_measurements", counted)
        assert transfer.load(other, path, "json").added == 10
        assert len(reads) == 1 and len(other.runs()) == 3


@pytest.mark.parametrize("flags", ["noisy", [1], {}])
def test_flags_that_are_none_refuse_an_export(store: Store, tmp_path: Path, flags: object) -> None:
    fasterseg.load(store, saved(tmp_path / "some.npy", TABLE))
    found = [row for one in store.targets() for row in transfer.rows(store, one)]
    found[2]["flags"] = flags
    transfer.write(tmp_path / "some.json", "json", found)
    with Store.open(str(tmp_path / "to.db")) as other:
        with pytest.raises(ImportFormatError, match="row 3"):
            transfer.load(other, tmp_path / "some.json", "json")
        assert other.targets() == []


# Files of every kind of numpy


def npy(pickled: bytes, text: bytes = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }") -> bytes:
    header = text + b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pickled


def pickled(table: object, protocol: int, core: bytes) -> bytes:
    """What numpy pickles, its module named as numpy 1 (``numpy.core``) or numpy 2 (``numpy._core``) names it."""
    content = pickle.dumps(np.array(table, dtype=object), protocol)
    if protocol >= 4:
        return content
    return content.replace(b"cnumpy._core.", b"cnumpy.core.").replace(b"cnumpy.core.", b"c" + core + b".")


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_of_old_and_new_numpy_are_read(protocol: int, core: bytes) -> None:
    assert plain_pickle.loads(npy(pickled(TABLE, protocol, core))) == TABLE
    assert plain_pickle.loads(npy(pickled({"one": 0.5}, protocol, core))) == {"one": 0.5}
    assert plain_pickle.loads(npy(pickled({}, protocol, core))) == {}


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_long_table_is_read_in_its_order(protocol: int) -> None:
    # Beyond the 1,000 items that the pickler writes at once, and the 64 KiB of one frame.
    table = {f"{name}χ" * 10: (name + 1) / 7 for name in range(5000)}
    found = plain_pickle.loads(npy(pickled(table, protocol, b"numpy.core")))
    assert list(found.items()) == list(table.items())


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(tmp_path: Path, version: tuple[int, int]) -> None:
    with (tmp_path / "some.npy").open("wb") as file:
        np.lib.format.write_array(file, np.array(TABLE, dtype=object), version=version)
    assert plain_pickle.read(tmp_path / "some.npy") == TABLE


# Files that are something else


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def number(value: float) -> bytes:
    return b"G" + struct.pack(">d", value)


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85c_codecs\nencode\n" + text("b")
ARRAY += text("latin1") + b"\x86R\x87R"
OBJECT = b"cnumpy\ndtype\n" + text("O8") + b"K\x00K\x01\x87R(K\x03" + text("|")
OBJECT += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
BEGIN = b"\x80\x02" + ARRAY + b"(K\x01)" + OBJECT + b"\x89]}"
END = b"atb."
KEY = "ff_H128_W256_C64"


def wrapped(items: bytes) -> bytes:
    """A pickle of numpy's, with these instructions where the items of the dict are set."""
    return BEGIN + items + END


def attempt(content: bytes) -> dict[str, float] | None:
    """What is read; None where it is refused as it should be."""
    try:
        table = plain_pickle.loads(content)
    except ImportFormatError as error:
        message = str(error)
        assert 10 < len(message) < 300 and message.isprintable(), message
        return None
    assert type(table) is dict
    for key, value in table.items():
        assert type(key) is str and type(value) is float and math.isfinite(value) and value > 0
    return table


def test_the_pickles_made_by_hand_are_like_those_of_numpy() -> None:
    content = wrapped(text(KEY) + number(0.5) + b"s")
    assert pickle.loads(content).item() == {KEY: 0.5}
    assert attempt(npy(content)) == {KEY: 0.5}


@pytest.mark.parametrize(
    "table",
    [
        *({"k": value} for value in (1, True, None, "1", b"1", 1j, [1.0], (1.0,), {"k": 1.0}, Fraction(1, 3))),
        *({"k": value} for value in (math.nan, math.inf, -math.inf, -1.0, 0.0, -0.0)),
        *({"k": value} for value in (np.float64(1), np.float32(1), np.ones(1))),
        *({key: 1.0} for key in (1, b"k", None, ("k",), "k" * 1001, "\ud800")),
        *([1.0], {"a"}, "text", 1.0, None, Path("some")),
    ],
    ids=lambda table: ascii(table)[:40],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_no_table_of_floats_is_refused(table: object, protocol: int) -> None:
    array = np.empty((), dtype=object)
    array[()] = table
    assert attempt(npy(pickle.dumps(array, protocol))) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        b"\x93NUMPY\x04\x00" + npy(wrapped(b""))[8:],
        b"PK\x03\x04",
        wrapped(b""),
        npy(wrapped(b""), b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
        npy(wrapped(b""), b"{'descr': '<f8', 'fortran_order': False, 'shape': (), }"),
        npy(wrapped(b""), b"{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (), }"),
        npy(wrapped(b""), b"(" * 117),
        npy(b""),
        npy(b"\x80"),
        npy(b"\x80\x02"),
        npy(b"\x80\x02."),
        npy(b"\x80\x01" + wrapped(b"")[2:]),
        npy(b"\x80\x06" + wrapped(b"")[2:]),
        npy(wrapped(b"")[2:]),
        npy(wrapped(b"") + b"\x00"),
        npy(wrapped(b"") * 2),
        npy(wrapped((text(KEY) + number(1.0) + b"s") * 2)),
        npy(wrapped(b"(" + text(KEY) + number(1.0) + text(KEY) + number(1.0) + b"u")),
        npy(wrapped(b"(" + text(KEY) + b"u")),
        npy(wrapped(b"(")),
        npy(wrapped(b"N")),
        npy(BEGIN + b"a}atb."),
        npy(BEGIN + b"."),
        npy(b"\x80\x02}."),
        npy(b"\x80\x02" + ARRAY + b"."),
        npy(b"\x80\x02" + ARRAY + b"(K\x01(K\x01t" + OBJECT + b"\x89]}" + END),
        npy(b"\x80\x02" + ARRAY + b"(K\x01)cnumpy\ndtype\n" + text("V8") + b"K\x00K\x01\x87R\x89]}" + END),
        npy(b"\x80\x02" + ARRAY + b")b."),
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_what_is_no_file_of_one_dict_is_refused(content: bytes) -> None:
    assert attempt(content) is None


def doubled(times: int) -> bytes:
    """Pairs of pairs of pairs: as large as 2 to that power where it is followed through."""
    return b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(times))


HEAVY = {
    "nested tuples": b")" + b"\x85" * 100_000,
    "nested tuples as arguments": b"cnumpy\ndtype\n)" + b"\x85" * 100_000 + b"R",
    "many lists": b"]" * 100_000,
    "a list in itself": b"]q\x00h\x00a",
    "a list in itself as arguments": b"cnumpy\ndtype\n]q\x00h\x00a\x85R",
    "a list in itself as state": OBJECT[: OBJECT.index(b"(")] + b"]q\x00h\x00a\x85b",
    "pairs of pairs": doubled(200),
    "pairs of pairs as arguments": b"cnumpy\ndtype\n" + doubled(200) + b"R",
    "pairs of pairs as state": OBJECT[: OBJECT.index(b"(")] + doubled(200) + b"b",
    "pairs of pairs as a key": doubled(200) + number(1.0) + b"s",
    "more than the allowed instructions": b"N" * 1_000_001,
    "marks": b"(" * 100_000,
    "an empty place": b"h\x05",
    "an empty place far away": b"j\xff\xff\xff\xff",
    "a place far away": b"Nr\xff\xff\xff\xff",
    "a place filled twice": b"Nq\x01q\x01",
    "nothing to remember": b"(\x94",
    "below a mark": b"N(\x85",
    "below a mark, an item": text(KEY) + b"(" + number(1.0) + b"s",
    "without a mark": b"u" * 2,
    "a text of 4 GiB": b"X\xff\xff\xff\xff",
    "a text of 16 EiB": b"\x8d" + b"\xff" * 8,
    "bytes of 4 GiB": b"B\xff\xff\xff\xff",
    "bytes of 16 EiB": b"\x8e" + b"\xff" * 8,
    "a bytearray of 8 EiB": b"\x96" + b"\xff" * 7 + b"\x7f",
    "a frame of 16 EiB": b"\x95" + b"\xff" * 8,
    "a whole number of 2 GiB": b"\x8b\xff\xff\xff\x7f",
    "a whole number of many digits": b"I" + b"9" * 1_000_000 + b"\n",
    "a long number of many digits": b"L" + b"9" * 1_000_000 + b"L\n",
    "a name of many letters": b"c" + b"a" * 1_000_000 + b"\n",
    "a huge array": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85C\x01b\x87R",
    "a text that is none": b"X\x02\x00\x00\x00\xff\xfe",
    "old texts": b"S'k'\n",
    "old unicode": b"Vk\n",
    "old floats": b"F1.0\n",
    "a copy": b"N2",
    "a drop": b"N0",
    "a buffer": b"\x97",
}


@pytest.mark.parametrize("name", HEAVY)
def test_what_would_take_long_or_much_is_refused(name: str) -> None:
    assert attempt(npy(b"\x80\x02" + HEAVY[name] + b".")) is None
    assert attempt(npy(wrapped(HEAVY[name]))) is None
    assert attempt(npy(wrapped(text(KEY) + HEAVY[name] + b"s"))) is None


def test_a_file_that_is_too_long_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "some.npy").open("wb") as file:
        file.write(npy(wrapped(b"")))
        file.truncate(10**12)
    with pytest.raises(ImportFormatError, match="longer than"):
        plain_pickle.read(tmp_path / "some.npy")


# Nothing is executed


class Watch:
    """Notes what Python reports while it is armed. Such a hook stays for good, so there is one, and it sleeps."""

    HARMFUL = ("exec", "compile", "import", "pickle.", "marshal.", "os.", "subprocess.", "ctypes.", "code.__new__")

    def __init__(self) -> None:
        self.armed = False
        self.events: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: object) -> None:
        if self.armed and event.startswith(self.HARMFUL):
            self.events.append(event)

    @contextmanager
    def armed_for(self) -> Iterator[list[str]]:
        self.events = []
        self.armed = True
        try:
            yield self.events
        finally:
            self.armed = False


@pytest.fixture(scope="module")
def watch() -> Watch:
    # What is imported and compiled on first use is not a file's doing.
    attempt(npy(wrapped(text(KEY) + number(1.0) + b"s")))
    attempt(npy(wrapped(b"X\x01\x00\x00\x00\xff")))
    return Watch()


def attacks(command: str) -> dict[str, bytes]:
    """Instructions that run a shell command, or try."""
    code = f"__import__('os').system({command!r})"
    system = b"cos\nsystem\n"
    return {
        "GLOBAL os.system": system + text(command) + b"\x85R",
        "GLOBAL posix.system": b"cposix\nsystem\n" + text(command) + b"\x85R",
        "STACK_GLOBAL posix.system": short("posix") + short("system") + b"\x93" + text(command) + b"\x85R",
        "STACK_GLOBAL of an attribute": short("pathlib") + short("os.system") + b"\x93" + text(command) + b"\x85R",
        "STACK_GLOBAL from the memo": short("posix") + b"\x94" + short("system") + b"\x93" + text(command) + b"\x85R",
        "eval": b"cbuiltins\neval\n" + text(code) + b"\x85R",
        "exec": b"cbuiltins\nexec\n" + text(code) + b"\x85R",
        "INST": b"(" + text(command) + b"ios\nsystem\n",
        "OBJ": b"(" + system + text(command) + b"o",
        "__setstate__": b"ctypes\nSimpleNamespace\n)\x81}"
        + text("__setstate__")
        + system
        + b"sb"
        + text(command)
        + b"b",
        "Popen": b"csubprocess\ncall\n]" + text("sh") + b"a" + text("-c") + b"a" + text(command) + b"a\x85R",
        "numpy's runstring": b"cnumpy.testing\nrundocs\n" + text(command) + b"\x85R",
        "NEWOBJ": b"csubprocess\nPopen\n" + text(command) + b"\x85\x81",
        "NEWOBJ_EX": b"csubprocess\nPopen\n" + text(command) + b"\x85}\x92",
        "EXT1": b"\x82\x01" + text(command) + b"\x85R",
        "EXT2": b"\x83\x01\x00" + text(command) + b"\x85R",
        "EXT4": b"\x84\x01\x00\x00\x00" + text(command) + b"\x85R",
        "PERSID": b"P" + command.encode() + b"\n",
        "BINPERSID": text(command) + b"Q",
        "getattr": b"cbuiltins\ngetattr\n" + system + text("__call__") + b"\x86R",
        "apply of what is known": b"c_codecs\nencode\n" + text(command) + text("rot13") + b"\x86R",
        "a dotted name of what is known": short("numpy.core.multiarray") + short("_reconstruct.__globals__") + b"\x93",
        "numpy.fromfile": b"cnumpy\nfromfile\n" + text("/etc/passwd") + b"\x85R",
        "numpy.load": b"cnumpy\nload\n" + text("/etc/passwd") + b"N\x88\x87R",
        "a module that speaks": b"cthis\ns\n",
        "a module by STACK_GLOBAL": short("this") + short("s") + b"\x93",
        "names that are no text": b"]]\x93",
        "a call of a text": text("os.system") + text(command) + b"\x85R",
        "state for a text": text("some") + text(command) + b"b",
        "setattr on the array": ARRAY + b"}" + text("__setstate__") + system + b"sb",
    }


LIVE = 11
"""As many of the attacks as do run the command where they are unpickled."""


def test_the_attacks_are_real(tmp_path: Path, watch: Watch) -> None:
    """The control: what is refused below does execute when it is unpickled, and the watch sees that."""
    canary = tmp_path / "canary"
    for name, attack in list(attacks(f"touch '{canary}'").items())[:LIVE]:
        with watch.armed_for() as events:
            pickle.loads(b"\x80\x04" + attack + b".")
        assert canary.exists(), name
        canary.unlink()
        assert "pickle.find_class" in events and {"os.system", "subprocess.Popen"} & set(events), name


def test_no_attack_does_anything(tmp_path: Path, watch: Watch, store: Store) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "some.npy"
    speaks = "this" in sys.modules
    for name, attack in attacks(f"touch '{canary}'").items():
        for content in (
            b"\x80\x04" + attack + b".",
            wrapped(attack),
            wrapped(text(KEY) + attack + b"s"),
            wrapped(attack + number(1.0) + b"s"),
            wrapped(text(KEY) + number(1.0) + b"s" + attack + b"0"),
            BEGIN + b"a" + attack + b"tb.",
            b"\x80\x02" + attack + BEGIN[2:] + END,
        ):
            with watch.armed_for() as events:
                assert attempt(npy(content)) is None, name
            assert events == [], name
            path.write_bytes(npy(content))
            with pytest.raises(ImportFormatError):
                fasterseg.load(store, path)
    assert not canary.exists()
    assert ("this" in sys.modules) == speaks
    assert store.targets() == [] and store.runs() == [] and store.devices() == []


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The file with a few bytes changed, gone, new, doubled or elsewhere."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(changed) + 1)
        size = rng.choice((1, 1, 2, 4, 9, 60))
        match rng.randrange(7):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.randrange(256)
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = rng.randbytes(size)
            case 4:
                changed[at:at] = rng.choice(INSTRUCTIONS)
            case 5:
                del changed[at:]
            case _:
                other = rng.randrange(len(changed) + 1)
                changed[at:at] = changed[other : other + size]
    return bytes(changed)


INSTRUCTIONS = [
    *(bytes([code]) for code in plain_pickle._STEPS),
    *(attack for attack in attacks("true").values()),
    *(
        b"K\x00",
        b"J\xff\xff\xff\xff",
        b"C\x01b",
        b"h\x00",
        b"h\x01",
        b"q\x07",
        b"r\x00\x00\x00\x10",
        b"j\x00\x00\x00\x00",
    ),
    *(text("O8"), text(KEY), short("b"), number(0.5), number(-1.0), number(math.nan)),
    *(ARRAY, OBJECT, b"(", b"t", b"u", b"s", b"a", b"R", b"b", b".", b"0", b"1", b"2", b"e", b"l", b"d", b"o", b"i"),
]


class Touched(Exception):
    """The store was used."""


class Untouched:
    """In the place of a store: nothing of it can be used unnoticed."""

    def __getattr__(self, name: str) -> Any:
        raise Touched(name)


def test_ten_thousand_damaged_files_are_refused_or_read_and_never_run(tmp_path: Path, watch: Watch) -> None:
    rng = random.Random(20)
    valid = [pickled(TABLE, protocol, b"numpy.core") for protocol in (2, 3, 4)]
    valid.append(wrapped(text(KEY) + number(0.5) + b"s"))
    files = [npy(mutated(rng.choice(valid), rng)) for _ in range(10_000)]
    files += [mutated(npy(rng.choice(valid)), rng) for _ in range(2000)]
    files += [npy(b"\x80\x02" + b"".join(rng.choices(INSTRUCTIONS, k=rng.randrange(1, 60)))) for _ in range(2000)]
    files += [npy(wrapped(b"".join(rng.choices(INSTRUCTIONS, k=rng.randrange(1, 12))))) for _ in range(2000)]
    with watch.armed_for() as events:
        tables = [attempt(content) for content in files]
    assert events == []
    # Some damage does not show: a number that is another number is a table, too.
    assert 100 < sum(table is not None for table in tables) < len(files) / 2
    path = tmp_path / "some.npy"
    stored = 0
    for content, table in zip(files[::5], tables[::5], strict=True):
        path.write_bytes(content)
        try:
            fasterseg.load(Untouched(), path)
        except ImportFormatError:
            continue
        except Touched:
            stored += 1
            assert table is not None and all(fasterseg.parse_key(key).specs for key in table)
    assert stored > 10


# The command


def test_the_command_says_what_it_added(tmp_path: Path) -> None:
    path = saved(tmp_path / "some.npy", TABLE)
    database = tmp_path / "some.db"
    first = invoke(database, "import", "fasterseg", str(path), "--json")
    assert (first.exit_code, first.stderr) == (0, "")
    assert json.loads(first.stdout) == {
        "file": str(path),
        "rows": 6,
        "added": 6,
        "target": {
            "device": "1080ti",
            "backend": "trt",
            "runtime_version": "5.1.5",
            "precision": "fp32",
            "settings": {},
        },
    }
    second = invoke(database, "import", "fasterseg", str(path), "--device", "1080ti")
    assert (second.exit_code, second.stderr) == (0, "")
    assert second.stdout == f"{path}: 6 rows, 0 of them new, of 1080ti (trt 5.1.5, fp32)\n"
    with Store.open(str(database)) as store:
        assert store.one(store.resolve_target("1080ti").id, spec("fuse", 8, 192, 192, branches=3)) is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read"),
        (b"nonsense", "no .npy file"),
        (npy(b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R."), "os.system"),
        (npy(wrapped(text("line\nbreak \x1b[31m") + number(1.0) + b"s")), r"'line\nbreak \x1b[31m'"),
        (npy(wrapped(text(KEY) + number(-1.0) + b"s")), "not a positive number"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "some.npy"
    if content is not None:
        path.write_bytes(content)
    line = the_line(invoke(tmp_path / "some.db", "import", "fasterseg", str(path), "--json"))
    assert words in line and str(path) in line
    with Store.open(str(tmp_path / "some.db")) as store:
        assert store.targets() == [] and store.runs() == []


def test_a_device_without_a_name_is_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "some.npy", TABLE)
    assert "--device" in the_line(invoke(tmp_path / "some.db", "import", "fasterseg", str(path), "--device", ""))
