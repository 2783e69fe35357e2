"""Errors as a person at a terminal wants them: one line, and an exit code that a script can use."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from headwater.errors import HeadwaterError, InvalidInput

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


class ErrorReportingGroup(click.Group):
    """Turns `HeadwaterError` into one line on standard error (or one JSON line with --json)."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit 2 for an invalid value, 1 for a failure, 130 when interrupted."""
        try:
            return super().invoke(ctx)
        except HeadwaterError as err:
            if "--json" in sys.argv[1:]:
                click.echo(json.dumps({"error": {"code": err.code, "message": err.message}}))
            click.echo(f"headwater: {' '.join(err.message.split())}", err=True)
            sys.exit(USAGE if isinstance(err, InvalidInput) else FAILURE)
        except KeyboardInterrupt:
            click.echo("headwater: interrupted; what was acknowledged is kept, the same command continues", err=True)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            sys.exit(FAILURE)
