"""A search from its configuration to its report: in a folder, and in the database."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from types import TracebackType

from latency_db.errors import LatencyDbError
from latency_db.store import Store
from searcher.assembly import Assembly, assemble
from searcher.config import SearchConfig
from searcher.cosearch import Losses
from searcher.discrete import draw_of
from searcher.finish import Accuracy, Conclusion, check_target, conclude, write_conclusion
from searcher.history import EpochRecord, read_epochs
from searcher.loop import Search, State
from searcher.report import write_report
from searcher.result import Role, SearchResult
from searcher.run_folder import About, RunFolder
from searcher.validate import validate
from searcher.watch import Board, ProgressLine
from trainer.architecture import Architecture
from trainer.runs.processes import Processes


def run_search(
    config: SearchConfig, folder: RunFolder, store: Store, processes: Processes, *, resume: bool = False
) -> SearchResult | None:
    """Search, or go on with a search, to its end.

    Args:
        config: what is searched, and how.
        folder: where to; made if it is not there.
        store: the latencies, and where the search is noted.
        processes: this one and those beside it.
        resume: go on with what is in the folder.

    Returns:
        What was found; None in all processes but the first.

    Raises:
        LatencyDbError: anything that stands in the way, in one line. What the folder holds goes on with ``resume``.
    """
    if not processes.first:
        assembly = assemble(config, store, processes)
        search = Search(assembly, folder)
        search.run()
        _conclude(assembly, search, folder)
        return None
    with folder.lock():
        folder.check(config, resume=resume)
        # All that can be wrong from outside shows here, before anything is written.
        assembly = assemble(config, store, processes)
        check_target(assembly.space, assembly.latencies, config.latency)
        about = folder.begin(config, assembly.data.dataset.classes, assembly.latencies.digest)
        with ExitStack() as stack:
            # What an earlier sitting noted beyond its last checkpoint is dropped here, before epochs are counted.
            search = Search(assembly, folder)
            record = stack.enter_context(_Recorded(assembly, folder, about, store))
            search.listeners = (ProgressLine(config.schedule), record)
            board = stack.enter_context(Board(folder.tensorboard, search.state.number + 1))
            search.listeners = (*search.listeners, board)
            search.run()
            conclusion, seconds = _conclude(assembly, search, folder)
            result = write_conclusion(folder, conclusion, config, assembly.latencies, about.classes, seconds)
            record.derived(conclusion)
        write_report(folder.path)
        return result


def _conclude(assembly: Assembly, search: Search, folder: RunFolder) -> tuple[Conclusion, float]:
    """The networks, and the seconds it took. Every process takes part: each judges on its share of the images."""
    epochs = search.epochs or read_epochs(folder.epochs)
    accuracy: dict[Role, Accuracy] = {"student": _accuracy(assembly), "teacher": _accuracy(assembly)}
    conclusion = conclude(
        assembly.search.parameters,
        assembly.space,
        assembly.latencies,
        assembly.config.latency,
        # The last epoch of a search always validates.
        epochs[-1].miou,
        accuracy,
    )
    return conclusion, search.state.seconds


def _accuracy(assembly: Assembly) -> Accuracy:
    def accuracy(architecture: Architecture) -> float:
        lattice = assembly.space.lattice
        branches = tuple(branch.s for branch in architecture.branches)
        found = validate(
            assembly.search,
            draw_of(architecture, lattice).to(assembly.device),
            assembly.data.validation,
            calibration=assembly.data.calibration(assembly.config.schedule.calibration_batches),
            branch_sets=(branches,),
        )
        return found[branches]

    return accuracy


class _Recorded:
    """The search's row in the database: running while the block runs, then completed, interrupted or failed."""

    def __init__(self, assembly: Assembly, folder: RunFolder, about: About, store: Store) -> None:
        self._store = store
        self._space = assembly.space
        table, config = assembly.latencies.table, assembly.config
        self._epochs = len(read_epochs(folder.epochs))
        self._id = store.start_search(
            folder=str(folder.path.resolve()),
            space=assembly.space.name,
            space_settings=assembly.space.settings,
            device=table.device,
            target_id=table.target_id,
            target_line=table.target,
            image=table.image,
            batch=table.batch,
            config=config.model_dump(mode="json"),
            seed=config.run.seed,
            started_at=about.started_at,
        )

    def __enter__(self) -> _Recorded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._store.finish_search(self._id, "completed", None, self._epochs)
            return
        # A failure may be that of the disk, on which the database is, too: the first is what is to be said.
        with suppress(LatencyDbError):
            if isinstance(error, Exception):
                self._store.finish_search(self._id, "failed", str(error) or type(error).__name__, self._epochs)
            else:
                # Ctrl-C, or a signal that ends the process in order.
                self._store.finish_search(self._id, "interrupted", type(error).__name__, self._epochs)

    def step(self, state: State, losses: Losses, architecture: Losses | None) -> None:
        """Steps are not noted: there are too many."""

    def epoch(self, record: EpochRecord) -> None:
        """Note how far it is."""
        self._epochs = record.epoch + 1
        self._store.note_epochs(self._id, self._epochs)

    def derived(self, conclusion: Conclusion) -> None:
        """Note both networks."""
        for role, architecture in conclusion.architectures.items():
            one = conclusion.derived[role]
            self._store.add_derived(
                self._id,
                role=role,
                architecture=self._space.to_json(architecture),
                branches=one.branches,
                how=one.how,
                latency_ms=one.latency_ms,
                miou=one.miou,
            )
