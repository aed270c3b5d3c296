"""Messages on stderr, and exit codes."""

from __future__ import annotations

import logging
import re
import shlex
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAILED, INTERRUPTED = 1, 130


#: Arguments in Python, and the options that give them.
OPTIONS = {
    "modalities": "--modalities",
    "layers": "--layer",
    "likelihoods": "--likelihood",
    "batch_key": "--batch-key",
    "labels_key": "--labels-key",
    "stratify_by": "--stratify-by",
    "group_by": "--group-by",
    "n_models": "--n-models",
    "n_latent": "--n-latent",
    "max_epochs": "--max-epochs",
    "train_size": "--train-size",
    "source": "--source",
    "modality": "--modality",
    "quantiles": "--quantiles",
    "labels": "--labels",
    "coverage": "--coverage",
    "rename": "--rename",
    "min_features": "--min-features",
    "join": "--join",
    "missing": "--missing",
    "transposed": "--transposed",
}
#: Options that take one of several values each.
REPEATED = ("join", "missing", "transposed", "quantiles")
#: Other advice of the library, and the same for commands.
PHRASES: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"(?:query = CoupledAE\.prepare_query_mudata\(mdata, model\); )?query = model\.normalize_query\(query\)": "--normalize",
    r"query = model\.normalize_query\(query, match_medians=True\)": "--match-medians",
    r"query = model\.align_query\(query\)": "--align class_balanced",
    r"\(model\.align_query\)": "(--align)",
    r"\brecalibrate=True\b": "--recalibrate",
    r"Name the one to align: modality=\.\.\.": "Name the one to align: --align MODALITY=METHOD",
    r"modality='([^']*)' cannot be aligned": r"--align \1 cannot be aligned",
    r"call model\.normalize_query\(query, match_medians=True\)": "pass --match-medians",
    r"Data with others are brought to them by CoupledAE\.prepare_query_mudata\(mdata, model\), with rename= for other "
    r"names": "--prepare brings the data to them, with --rename if names differ",
    r"(?:[Ss]ee |by )?\b(?:scvi_cae\.)?(?:CoupledAE\.)?prepare_query_mudata(?:\([^)]*\))?": "--prepare",
    r"\{name in the data: name in the model\}": "FILE",
    r"train_size, validation_size, stratify_by or external_indexing": "--train-size, --stratify-by or --seed",
    r", and a pair can be left uncoupled: CoupledAE\(mdata, coupling=\{\.\.\.\}\)": "",
    r"Use larger minibatches: batch_size=\d+": "Choose a smaller --n-latent",
    r"batch_size=(\d+) is": r"A minibatch of \1 cells is",
    r"train\(plan_kwargs=\{'lr': \.\.\.\}\)": "see CoupledAE.train in Python",
    r"train\(checkpoint=\.\.\.\)": "--checkpoint",
    r"Repeat the call": "Repeat the command",
    r"Lower n_folds": "Lower --n-models",
    r"(?:CoupledAE|Ensemble)\.save\(\)": "'scvi-cae fit'",
    r"overwrite=True": "--overwrite",
    r"Otherwise, give a function that makes the names of one table those of another, such as join=.*?, which all names pass; or, ": "Otherwise, make "
    "them the same in the files; or, ",
    r"transposed=\[\] for none of them": "--transposed none",
    r"transposed=\[\]": "--transposed none",
    r", or the index of a data frame: frame\.set_index\('cell'\)": "",
    r"; or read it first: .*?index_col=0\)": "",
    r"(round_counts|strip_versions|drop_spike_ins|drop_zero_genes)=True": lambda found: (
        "--" + found[1].replace("_", "-")
    ),
    r"setup_mudata\(mdata, (.*?\})\)": r"\1",
    r"(?:CoupledAE|train)\((\w+)\)": r"\1",
    r"give command=\.\.\.": "give --command",
    r"cell=('.*?') gives": r"--cell \1 gives",
    r"cell=\w+ gives": "--cell gives",
    r"cell=lambda path: path\.parent\.name, or \{file: cell\}": "--cell FILE, a table with columns file and cell",
    r"; give their files: sorted\(.*?\)\)": "; give their files",
}
ARGUMENT = re.compile(
    rf"\b({'|'.join(OPTIONS)})(?:\[('[^']*')\])?=(\{{.*?\}}|\[.*?\]|'[^']*'|\.\.\.|[\w.]*\w)"
)
NAMED = re.compile(rf"\b({'|'.join(OPTIONS)})(?:\[('[^']*')\])?(?=: no row| names| must (?:say|have|be))")


def in_options(message: str, keep_blanks: bool = False) -> str:
    """A message of the library in one line, with options in place of arguments in Python.

    Parameters
    ----------
    message
        The message.
    keep_blanks
        Whether runs of blanks are kept.
    """

    def option(found: re.Match[str]) -> str:
        name, modality, value = (*found.groups(), "")[:3]
        if name in REPEATED and value.startswith("["):  # ['fail', 'x y'] is --missing fail --missing 'x y'
            words = re.findall(r"""'([^']*)'|"([^"]*)"|(-?[\d.]+)""", value)
            return " ".join(f"{OPTIONS[name]} {shlex.quote(''.join(word))}" for word in words)
        if name in REPEATED and value.startswith("'"):
            return f"{OPTIONS[name]} {shlex.quote(value[1:-1])}"
        if value.startswith("{"):  # {'rna': 'counts'} is rna=counts
            value = value[1:-1].replace(": ", "=").replace("...", "NAME")
        elif value.startswith("["):  # ['rna', 'ephys'] is rna,ephys
            value = value[1:-1].replace(", ", ",")
        value = value.replace("...", "")
        value = f"{modality}={value}" if modality and value else modality or value
        return f"{OPTIONS[name]} {value}".replace("'", "").rstrip()

    for python, words in PHRASES.items():
        message = re.sub(python, words, message)
    message = NAMED.sub(option, ARGUMENT.sub(option, message))
    # Words with an underscore are no English.
    for name in filter(lambda name: "_" in name, OPTIONS):
        message = re.sub(rf"\b{name}\b", OPTIONS[name], message)
    return message if keep_blanks else " ".join(message.split())


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
    note(f"Warning: {in_options(str(message))}")


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
            note(f"Error: {in_options(str(text))}")
            raise typer.Exit(FAILED) from None
        finally:
            logging.disable(logging.NOTSET)
            sys.stdout.flush()
