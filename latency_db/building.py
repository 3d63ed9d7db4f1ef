"""``latency-db profile --build-only``: every operator and some networks compiled for devices that are not here.

Nothing is measured and no latency is written. What cannot be built is a failure in the database, with the compiler's
own words, under a target that is a compute capability and no machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backends.building import Buildable
from backends.environment import describe
from backends.errors import CompileError
from backends.protocol import Target, Workload
from latency_db.campaign import draw_networks, stored_network
from latency_db.keys import ImageSize
from latency_db.profiling import select
from latency_db.recording import Kind
from latency_db.space import Space
from latency_db.store import Store
from latency_db.workloads import network_workload, operator_workload

DEFAULT_NETWORKS = 10
NETWORKS_SEED = "building"


@dataclass(frozen=True, kw_only=True)
class BuildProgress:
    """Where it is: for a progress line."""

    done: int
    workloads: int
    kept: int
    failed: int
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """What was built.

    Attributes:
        target: what it is for.
        run_id: its row.
        specs: operators that were asked for.
        networks: networks that were asked for; fewer than wished for where the space has no more.
        built: programs built now.
        kept: programs that an earlier call had built.
        failed: by the workload's name, why it could not be built.
        size_bytes: of all programs, kept ones included.
        elapsed_s: how long it took.
    """

    target: Target
    run_id: int
    specs: int
    networks: int
    built: int
    kept: int
    failed: dict[str, str]
    size_bytes: int
    elapsed_s: float


def build_space(
    store: Store,
    backend: Buildable,
    space: Space,
    image: ImageSize,
    *,
    batch: int = 1,
    networks: int = DEFAULT_NETWORKS,
    only: Sequence[str] = (),
    report: Callable[[BuildProgress], None] = lambda progress: None,
) -> BuildResult:
    """Compile every operator of the space and some whole networks.

    Stopped at any time, it goes on where it was: the backend keeps what it has built.

    Args:
        store: where failures go.
        backend: what compiles.
        space: what is compiled.
        image: input size.
        batch: images at once.
        networks: how many random networks.
        only: patterns as :func:`~latency_db.profiling.select` takes them; no network is built then.
        report: takes the progress.
    """
    specs = select(space.specs(image, batch), only)
    target = backend.build_target()
    target_id = store.ensure_target(target)
    ids = store.ensure_specs(specs)
    drawn = draw_networks(
        space,
        lambda architecture: stored_network(store, space, architecture, image, batch),
        0 if only else networks,
        NETWORKS_SEED,
    )
    work: list[tuple[Kind, int, Workload]] = [("operator", ids[spec], operator_workload(space, spec)) for spec in specs]
    work += [
        ("network", network.id, network_workload(space, network.architecture, f"network-{network.id}", image, batch))
        for network in drawn
    ]
    described = {
        "build_only": True,
        "image": str(image),
        "batch": batch,
        "space": space.name,
        "space_settings": dict(space.settings),
        "only": list(only),
        "networks": [network.id for network in drawn],
    }
    started = time.monotonic()
    failed: dict[str, str] = {}
    built = kept = size_bytes = 0
    with store.running(target_id, "profile", series=1, plan=described, environment=describe()) as run:
        for kind, id_, workload in work:
            try:
                program = backend.build(workload)
            except CompileError as error:
                failed[workload.name] = str(error)
                store.add_failure(run.id, id_, 0, str(error), network=kind == "network")
            else:
                kept += program.kept
                built += not program.kept
                size_bytes += program.size_bytes
            report(
                BuildProgress(
                    done=built + kept + len(failed),
                    workloads=len(work),
                    kept=kept,
                    failed=len(failed),
                    elapsed_s=time.monotonic() - started,
                )
            )
        run.reason = "built"
    return BuildResult(
        target=target,
        run_id=run.id,
        specs=len(specs),
        networks=len(drawn),
        built=built,
        kept=kept,
        failed=failed,
        size_bytes=size_bytes,
        elapsed_s=time.monotonic() - started,
    )
