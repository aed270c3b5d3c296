"""Messages on stderr, and exit codes."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED, INTERRUPTED = 1, 130


def note(message: str) -> None:
    """Print a message to stderr; stdout is for results."""
    typer.echo(message, err=True)


def _is_ours(error: BaseException) -> bool:
    """Whether this package raised the error itself, with a message for the user."""
    if isinstance(error, OSError):  # its message names the file
        return True
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = "" if traceback is None else traceback.tb_frame.f_globals.get("__name__", "")
    return where.partition(".")[0] == __name__.partition(".")[0]


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(f"Warning: {message}")


@contextmanager
def reporting() -> Iterator[None]:
    """Report expected errors in one line and exit with their codes; other errors keep their traceback.

    Only warnings of this package and log records above level INFO are shown.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"scvi_cae\b")
        # This warning describes the state of the model, but the command writes none.
        warnings.filterwarnings("ignore", message="Training was interrupted")
        warnings.showwarning = _show_warning
        logging.disable(logging.INFO)
        try:
            yield
        except KeyboardInterrupt as error:
            note(f"Interrupted: {str(error) or 'nothing was written'}.")
            raise typer.Exit(INTERRUPTED) from None
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, ArithmeticError) as error:
            # typer.Exit and typer.Abort are RuntimeErrors.
            if isinstance(error, typer.Exit | typer.Abort) or not _is_ours(error):
                raise
            # str() of a KeyError is the repr of its message.
            text = error.args[0] if isinstance(error, KeyError) else error
            note(f"Error: {' '.join(str(text).split())}")
            raise typer.Exit(FAILED) from None
        finally:
            logging.disable(logging.NOTSET)
            sys.stdout.flush()
