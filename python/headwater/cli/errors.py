"""Errors as a person at a terminal wants them: short, and an exit code that a script can use."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from headwater.errors import HeadwaterError, InvalidInput

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


class _InterruptedError(Exception):
    """Ctrl-C inside a command; click itself would write an empty line first."""


class ErrorReportingGroup(click.Group):
    """Turns every expected error into a line on standard error, a wrong filter with its place below, and
    into a line of JSON with --json."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _InterruptedError from None

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line; exit 2 for a value that must be corrected, 1 for a failure, 130 when interrupted."""
        run: Callable[..., Any] = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **extra)
        try:
            sys.exit(run(*args, standalone_mode=False, **extra))
        except HeadwaterError as err:
            _fail(err.code, err.message, USAGE if isinstance(err, InvalidInput) else FAILURE)
        except click.UsageError as err:
            where = "headwater" if err.ctx is None else err.ctx.command_path
            _fail("usage", f"{err.format_message().rstrip('.')}. See `{where} --help`", USAGE)
        except click.ClickException as err:
            _fail("usage", err.format_message(), err.exit_code)
        except (_InterruptedError, click.Abort):
            _fail("interrupted", "interrupted; what was acknowledged is kept, the same command continues", INTERRUPTED)
        except BrokenPipeError:
            sys.exit(FAILURE)
        except OSError as err:
            _fail("os-error", f"{err.filename or 'a file'}: {err.strerror or err}", FAILURE)


def _fail(code: str, message: str, status: int) -> NoReturn:
    if "--json" in sys.argv[1:]:
        click.echo(json.dumps({"error": {"code": code, "message": message}}))
    # What is below the first line shows a place in a text: its columns must stay.
    click.echo(f"headwater: {message.strip()}", err=True)
    sys.exit(status)
