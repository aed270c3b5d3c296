"""Tables on the command line: read into a MuData, with the summary on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._messages import in_options, note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mudata import MuData


def table_files(texts: Mapping[str, str]) -> dict[str, Path]:
    """Existing files by modality.

    Parameters
    ----------
    texts
        Paths by modality.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If there are annotations alone.
    """
    files = {name: Path(text) for name, text in texts.items()}
    for name, path in files.items():
        if not path.exists():
            raise FileNotFoundError(f"--table {name}: there is no file {path}. Check the path.")
    if set(files) == {"obs"}:
        raise ValueError(
            "--table obs=... has annotations of cells only. Give a modality, too: --table rna=counts.csv."
        )
    return files


def read(files: Mapping[str, Path], **options: Any) -> MuData:
    """Read tables, and print what was found.

    Parameters
    ----------
    files
        Files by modality.
    **options
        Arguments of :func:`~scvi_cae.io.read_tables`.
    """
    from scvi_cae.io import read_tables

    tables: Any = dict(files)
    mdata = read_tables(**tables, **options, verbose=False)
    for line in mdata.uns["read_tables"].splitlines():
        text = line.lstrip()
        note(line[: len(line) - len(text)] + in_options(text, keep_blanks=True))
    note("")
    return mdata
