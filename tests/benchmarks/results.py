"""The numbers of README and documentation: measured by scripts, kept in one file, shown in the pages' tables.

    SCVI_CAE_DATA=... python tests/benchmarks/results.py [NAME ...]     # or make numbers ARGS="NAME ..."
    python tests/benchmarks/results.py --pages                          # or make numbers ARGS=--pages

Runs the commands of these names in ``docs/numbers.toml``, by default all, which takes hours; then writes the tables of the
pages anew, which is all that ``--pages`` does. Scripts record what they print by :func:`record`: the file
``docs/numbers.csv`` has one line for each number. A script that is run by itself prints only, unless
``SCVI_CAE_NUMBERS`` is set to the command that is to stand beside its numbers.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import number_tables
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARKS = Path(__file__).parent
#: Names the command to be recorded, in the environment of a script.
VARIABLE = "SCVI_CAE_NUMBERS"
#: Packages on whose versions numbers depend.
PACKAGES = ("scvi-cae", "scvi-tools", "torch", "scikit-learn")


def record(
    table: str,
    values: pd.DataFrame,
    spread: pd.DataFrame | None = None,
    packages: Sequence[str] = (),
    file: Path = number_tables.NUMBERS,
) -> None:
    """Record a table under a name, in place of what the same command recorded under it before, and of rows of these names.

    Parts of a row's name, such as those of a MultiIndex, are joined by ``" | "``. ``spread`` has the standard deviation
    or error of some columns, ``packages`` are those that the numbers depend on beside the usual ones.
    """
    command = os.environ.get(VARIABLE)
    if command is None:
        return
    rows = [
        " | ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in values.index.tolist()
    ]
    about = {
        "command": command,
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}",
        "versions": ", ".join(
            f"{name} {metadata.version(name).partition('+')[0]}" for name in (*PACKAGES, *packages)
        ),
    }
    found = [
        {
            "table": table,
            "row": row,
            "column": str(column),
            "value": values.iloc[i][column],
            "spread": None if spread is None or column not in spread else spread.iloc[i][column],
            **about,
        }
        for i, row in enumerate(rows)
        for column in values
    ]
    old = number_tables.read(file)
    old = old[(old["table"] != table) | ((old["command"] != command) & ~old["row"].isin(rows))]
    lines = pd.DataFrame([*old.to_dict("records"), *found], columns=number_tables.COLUMNS)
    number_tables.write(lines.dropna(subset="value"), file)


def main() -> None:
    """Run commands and write the pages."""
    commands = number_tables.specification()["commands"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(commands)} (default: all)")
    parser.add_argument("--pages", action="store_true", help="run nothing")
    args = parser.parse_args()
    if unknown := set(args.names) - set(commands):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(commands)}")
    failed = []
    for name in [] if args.pages else args.names or commands:
        for command in commands[name]:
            print(f"\n{command}", flush=True)
            script, *arguments = shlex.split(command)
            run = [sys.executable, str(BENCHMARKS / script), *arguments]
            if subprocess.run(run, env={**os.environ, VARIABLE: command}).returncode:
                failed.append(command)
    for page in number_tables.write_pages():
        print(f"{page} has new numbers")
    if failed:
        sys.exit(f"Failed: {'; '.join(failed)}. Their numbers are those of before.")


if __name__ == "__main__":
    main()
