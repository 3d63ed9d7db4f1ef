"""``latency-db``."""

from __future__ import annotations

import click

from latency_db import __version__
from latency_db.cli.common import db_option
from latency_db.cli.compare_targets import compare_targets
from latency_db.cli.database import db
from latency_db.cli.doctor import doctor
from latency_db.cli.errors import OneLineErrors
from latency_db.cli.fit import fit
from latency_db.cli.jobs import jobs, submit
from latency_db.cli.listing import backends_command, devices, spaces_command, targets
from latency_db.cli.operators import operators
from latency_db.cli.predict import predict
from latency_db.cli.profile import profile
from latency_db.cli.query import query
from latency_db.cli.sensitivity import sensitivity
from latency_db.cli.transfer import export, import_group
from latency_db.cli.validate import validate
from latency_db.cli.worker import worker


class LatencyDbGroup(OneLineErrors):
    """What was measured before a Ctrl-C is not lost."""

    interrupted = "Interrupted. What was measured is stored; `latency-db profile` goes on where it was."


@click.group(cls=LatencyDbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="latency-db")
@db_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(db: str | None, debug: bool) -> None:
    """Measure operators on a device, keep them in a SQL database, predict networks, and check the predictions."""


for command in (
    profile,
    submit,
    jobs,
    worker,
    validate,
    predict,
    sensitivity,
    fit,
    query,
    compare_targets,
    operators,
    targets,
    devices,
    backends_command,
    spaces_command,
    export,
    import_group,
    doctor,
    db,
):
    main.add_command(command)
