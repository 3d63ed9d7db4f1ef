"""The published table, imported, gives the latencies that its authors stored, to the last digit, and the right ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latency_db.importers import fasterseg
from latency_db.keys import ImageSize
from latency_db.predict import Prediction
from latency_db.relaxed import RelaxedLatency, sensitivity
from latency_db.store import Store
from latency_db.table import LatencyTable
from searcher.space import FasterSegSpace
from trainer.architecture import Architecture
from trainer.builtin import FASTERSEG_STUDENT, FASTERSEG_STUDENT_32_8

IMAGE = ImageSize(1024, 2048)


@pytest.fixture(scope="module")
def table(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    path = shared_dir / "data" / "fasterseg" / "latency_lookup_table.npy"
    if not path.is_file():
        pytest.skip(f"no {path.name} in the reference data")
    with Store.open(str(tmp_path_factory.mktemp("published") / "table.db")) as store:
        fasterseg.load(store, path, "1080ti")
        return LatencyTable.load(device="1080ti", space=FasterSegSpace(), image=IMAGE, store=store)


@pytest.fixture(scope="module")
def mistaken(table: LatencyTable) -> LatencyTable:
    """As the published code read it: zoomed conv ×2 has the latency of conv ×2."""
    latencies = table.latencies_ms.copy()
    for index, spec in enumerate(table.specs):
        if spec.op == "zoomed_conv_x2":
            latencies[index] = table.latencies_ms[table.position(replace(spec, op="conv_x2"))]
    return replace(table, latencies_ms=latencies)


def predicted(table: LatencyTable, architecture: Architecture) -> Prediction:
    # By way of JSON, as a user's architecture comes.
    read = table.space.from_json(json.loads(json.dumps(architecture.to_json())))
    return table.predict(table.space.decompose(read, IMAGE))


@pytest.mark.parametrize(
    ("architecture", "meant_ms", "stored_ms"),
    [
        (FASTERSEG_STUDENT, 5.7018356816428, 6.4139770511337),
        (FASTERSEG_STUDENT_32_8, 5.7902943538594, 6.2604673918222),
    ],
    ids=["32+16", "32+8"],
)
def test_golden_sums(
    table: LatencyTable, mistaken: LatencyTable, architecture: Architecture, meant_ms: float, stored_ms: float
) -> None:
    assert abs(predicted(table, architecture).latency_ms - meant_ms) < 1e-9
    assert abs(predicted(mistaken, architecture).latency_ms - stored_ms) < 1e-9


def test_an_imported_latency_is_no_more_sure_than_it_says(table: LatencyTable) -> None:
    prediction = predicted(table, FASTERSEG_STUDENT)
    assert prediction.rel_ci != prediction.rel_ci, "one value without samples has no interval"
    assert set(table.provenance) == {"imported"}


def test_downsampling_is_not_nothing(table: LatencyTable) -> None:
    """The paper's Δs of 0.01 ms, on which its w2 = 0.997 rests, is not what its own table gives."""
    found = sensitivity(table)
    assert found.delta_downsample_ms > 0.1
    assert found.weights[1] < 0.9


def test_the_relaxed_latency_of_the_published_table(table: LatencyTable) -> None:
    relaxed = RelaxedLatency(table)
    families = (torch.zeros(shape) for shape in (relaxed.alpha_shape, relaxed.beta_shape, relaxed.gamma_shape))
    value = relaxed(*families)
    assert relaxed.branch_sets == ((8, 16), (8, 32), (16, 32))
    assert (value > 3).all() and (value < 20).all()
