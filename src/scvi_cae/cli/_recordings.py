"""The command that measures recordings."""

from __future__ import annotations

from pathlib import Path  # typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._files import SEPARATORS, check_output, ending, write_table
from ._messages import note, reporting
from ._options import Overwrite, TableOut  # noqa: TC001 (typer reads annotations when it runs)

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a table of commands.
_COMMANDS = ["file", "sweep", "current_pA", "start_ms", "end_ms"]


@reporting()
def recordings(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER", help="Folder with recordings, or recordings: .abf and .nwb.", show_default=False
        ),
    ],
    out: TableOut,
    cell: Annotated[
        str | None,
        typer.Option(
            help="Which cell a file is of: a regular expression in file names, whose group in parentheses is the cell, or a "
            "table with columns file and cell. Default: each file is a cell."
        ),
    ] = None,
    command: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of steps of files without a command, or with a wrong one, with columns file, sweep, current_pA, "
            "start_ms and end_ms.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Number of processes.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Measure features of recordings of current steps: a table of cells by features, for 'read --table ephys=OUT.csv'.

    Beside it, OUT.cells.csv has numbers of steps of each cell, and OUT.sweeps.csv what was measured on each step, or
    why it was skipped. Needs the extra "ephys" of the package.
    """
    end = ending(out, tuple(SEPARATORS)) or ""
    others = {
        part: out.with_name(f"{out.name[: len(out.name) - len(end)]}.{part}{end}")
        for part in ("cells", "sweeps")
    }
    for path in (out, *others.values()):
        check_output(path, overwrite, tuple(SEPARATORS))
    given = None if command is None else _commands(_table(command), command)
    cells: Any = cell
    if cell is not None and ending(Path(cell), tuple(SEPARATORS)):
        cells = _table(Path(cell))

    from scvi_cae.io import read_recordings

    ephys = read_recordings(files, cell=cells, command=given, n_jobs=jobs)
    sweeps = ephys.uns["recordings"]
    for path, table in (
        (others["sweeps"], sweeps.set_index("cell")),
        (others["cells"], ephys.obs),
        (out, ephys.to_df()),
    ):
        write_table(table, path)
    skipped = int((sweeps["skipped"] != "").sum())
    note(
        f"Measured {ephys.n_obs} cells on {len(sweeps) - skipped} steps; {skipped} steps or sweeps were skipped, "
        f"{others['sweeps'].name} says why."
    )
    note(f"Wrote {out}, {others['cells'].name} and {others['sweeps'].name}.")


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Check the path.")
    return pd.read_csv(path, sep=SEPARATORS[ending(path, tuple(SEPARATORS)) or ".csv"], encoding="utf-8-sig")


def _commands(table: pd.DataFrame, path: Path) -> dict[str, dict[str, Any]]:
    """Commands of files from a table with a row for each sweep."""
    if lacking := [name for name in _COMMANDS if name not in table]:
        raise ValueError(f"{path} has no columns {', '.join(lacking)}; it needs {', '.join(_COMMANDS)}.")
    commands = {}
    for file, rows in table.groupby("file"):
        windows = rows[["start_ms", "end_ms"]].drop_duplicates()
        if len(windows) > 1 or rows["sweep"].duplicated().any():
            raise ValueError(
                f"{path}: {file} must have one row for each sweep, with one start_ms and one end_ms."
            )
        start, end = windows.iloc[0]
        amplitudes = rows.sort_values("sweep")["current_pA"].to_numpy(dtype=float)
        commands[str(file)] = {"start": float(start), "end": float(end), "amplitudes": amplitudes}
    return commands
