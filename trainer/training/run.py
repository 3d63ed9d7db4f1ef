"""A training from its configuration to its result, in a folder; with a teacher to train, that one first."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack
from pathlib import Path

from trainer.metrics import mean_iou
from trainer.runs.files import write_whole
from trainer.runs.processes import Processes
from trainer.trained import Trained, save_trained
from trainer.training.assembly import Assembly, assemble, make_network, open_data, resolve
from trainer.training.config import NetworkConfig, TeacherConfig, TrainConfig
from trainer.training.curves import render_curves
from trainer.training.folder import TrainFolder
from trainer.training.loop import Training
from trainer.training.record import read_epochs
from trainer.training.result import TrainingResult, read_result
from trainer.training.watch import Board, ProgressLine


def run_training(
    config: TrainConfig, folder: TrainFolder, processes: Processes, *, resume: bool = False
) -> TrainingResult | None:
    """Train, or go on with a training, to its end; its teacher before it, where that is to be trained.

    Args:
        config: what is trained, and how.
        folder: where to; made if it is not there.
        processes: this one and those beside it.
        resume: go on with what is in the folder.

    Returns:
        What came of it; None in all processes but the first.

    Raises:
        LatencyDbError: anything that stands in the way, in one line. What the folder holds goes on with ``resume``.
    """
    if not processes.first:
        return _train(_taught(config, folder, processes, resume=resume), folder, processes, "")
    with folder.lock():
        folder.check(config, resume=resume)
        taught = _taught(config, folder, processes, resume=resume)
        return _train(taught, folder, processes, "student" if taught is not config else "", noted=config)


def _taught(config: TrainConfig, folder: TrainFolder, processes: Processes, *, resume: bool) -> TrainConfig:
    """The configuration with a teacher that is trained; trains it now where that is asked for.

    The student's folder is begun before it: stopped in the teacher's training, it says what is to be gone on with.
    """
    teacher = config.teacher
    if teacher.network is None or teacher.model is not None:
        return config
    own = config.model_copy(
        update={
            "network": NetworkConfig(name=teacher.network),
            "teacher": TeacherConfig(),
        }
    )
    # A student that cannot be trained should not show after its teacher's night, and neither of the two after
    # anything was written.
    training, _ = open_data(config, processes, pin_memory=False)
    spec = resolve(config.network)
    for one, network in ((config, spec), (own, resolve(own.network))):
        make_network(one, network, training.dataset.num_classes)
    theirs = TrainFolder(folder.teacher)
    if processes.first:
        folder.begin(config, spec, training.dataset.classes)
        with theirs.lock():
            theirs.check(own, resume=resume)
            _train(own, theirs, processes, "teacher")
    else:
        _train(own, theirs, processes, "teacher")
    processes.wait()
    return config.model_copy(update={"teacher": teacher.model_copy(update={"model": str(folder.teacher)})})


def _train(
    config: TrainConfig, folder: TrainFolder, processes: Processes, what: str, noted: TrainConfig | None = None
) -> TrainingResult | None:
    """One network. ``noted`` is what the folder keeps as its configuration."""
    # Asked by all processes before any of them can change the answer: either all train, or none.
    ended = folder.result.exists() and folder.model.exists()
    # All that can be wrong from outside shows here, before anything is written.
    assembly = assemble(config, processes)
    if not processes.first:
        if ended:
            return None
        training = Training(assembly, folder)
        training.run()
        training.final_iou()
        return None
    folder.begin(noted or config, assembly.spec, assembly.classes)
    if ended:
        return read_result(folder.result)
    with ExitStack() as stack:
        training = Training(assembly, folder)
        board = stack.enter_context(Board(folder.tensorboard, training.state.number + 1))
        training.listeners = (ProgressLine(config.schedule, what), board)
        training.run()
    return _conclude(assembly, training, folder)


def _conclude(assembly: Assembly, training: Training, folder: TrainFolder) -> TrainingResult:
    config = assembly.config
    iou = training.final_iou()
    result = TrainingResult(
        network=assembly.spec.name,
        teacher=None if config.teacher.model is None else config.teacher.network or Path(config.teacher.model).name,
        dataset=config.data.dataset,
        miou=mean_iou(iou),
        iou=dict(zip(assembly.classes, iou, strict=True)),
        validation_images=len(assembly.validation.dataset),
        epochs=config.schedule.epochs,
        seconds=training.state.seconds,
    )
    save_trained(
        folder.model,
        Trained(
            spec=assembly.spec,
            classes=assembly.classes,
            module=assembly.judged,
            dataset=config.data.dataset,
            size=config.data.size,
        ),
    )
    if importlib.util.find_spec("matplotlib") is not None:
        write_whole(folder.curves, render_curves({assembly.spec.name: read_epochs(folder.epochs)}))
    # Last: a folder that has a result has everything.
    result.save(folder.result)
    return result
