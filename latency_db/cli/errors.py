"""One line for a mistake, a traceback only with --debug."""

from __future__ import annotations

from typing import Any

import click

from backends.errors import BackendError
from latency_db.errors import LatencyDbError

INTERRUPTED = 130


class OneLineErrors(click.Group):
    """A group whose commands end in one line on standard error and a non-zero exit when a library raises.

    Attributes:
        interrupted: the line that Ctrl-C is worth. A program whose work can go on says how in a subclass.
    """

    interrupted: str = "Interrupted."

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (LatencyDbError, BackendError) as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"Error: {' '.join(str(error).split())}", err=True)
            ctx.exit(1)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            # Click would put the usage and a hint around it; one line is the rule for every mistake.
            click.echo(f"Error: {' '.join(error.format_message().split())}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo(f"\n{self.interrupted}", err=True)
            ctx.exit(INTERRUPTED)
