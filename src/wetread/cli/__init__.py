"""One command; its verbs are subcommands.  The only room that prints.

Exit codes: 0 done (for `read`: every image was read, by one model at least); 1 something
failed; 2 wrong usage or setting; 3 at least one image was read by none (coded reason); 4 bad input;
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import io
import sys

import click

from wetread.cli import copies, engines, jobs, lab, node, own, peers, read, route  # noqa: F401  # each adds its verbs
from wetread.cli.base import BAD_INPUT, FAILED, NOT_READ, USAGE, commands, visible
from wetread.errors import BadInput, NotRead, SettingsError, WetreadError

__all__ = ["commands", "exit_code", "main"]

#: By Ctrl-C: 128 and the number of SIGINT, as shells have it.
STOPPED = 130
#: Of a write for which there is no room; it does not say to which file.
FULL = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Run the command and turn our errors into messages and exit codes."""
    sys.modules.setdefault("gdcm", None)  # type: ignore[arg-type]  # pydicom would load it unasked
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is: a file's name need not be UTF-8
    try:
        code = commands.main(standalone_mode=False)
        if sys.stdout is not None:  # closed, as some who start us in the background do
            sys.stdout.flush()
        sys.exit(code)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except click.exceptions.Abort:
        click.echo("wetread: stopped", err=True)
        sys.exit(STOPPED)
    except WetreadError as error:
        click.echo(visible(f"wetread: {error}"), err=True)
        sys.exit(exit_code(error))
    except OSError as error:
        if error.filename is None and error.errno not in FULL:  # not about a file that a person named: ours to mend
            raise
        if error.filename is None:
            sys.stdout = io.StringIO()  # what could not be printed would be tried again at the end, and fail again
        where = "" if error.filename is None else f"{error.filename}: "
        click.echo(visible(f"wetread: {where}{error.strerror}"), err=True)
        sys.exit(FAILED)


def exit_code(error: WetreadError) -> int:
    """The documented exit code of an error."""
    if isinstance(error, BadInput):
        return BAD_INPUT
    if isinstance(error, NotRead):
        return NOT_READ
    return USAGE if isinstance(error, SettingsError) else FAILED
