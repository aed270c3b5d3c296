"""Tables of README and documentation, made from ``docs/numbers.csv`` as ``docs/numbers.toml`` says.

In a page, a table stands between ``<!-- numbers: NAME -->`` and ``<!-- /numbers -->``, with the command that measured it,
date and versions; ``[tables.NAME]`` in ``docs/numbers.toml`` says which numbers it has:

- ``of``: name of the recorded table, or names of several (by default NAME). ``transpose`` exchanges rows and columns.
- ``columns``: names of columns; or a heading for each, with a format such as ``"{R2:.2f} ({R2 ±:.2f})"`` of the row's
  values and of their spread, ``""`` for the value of this name, or several formats, of which the first is taken that has
  its values.
- ``rows``: names of rows in the file, in order (by default all).
- ``headings``: of the parts of the rows' names.
- ``format``: of a value for which none is given, ``".3f"`` by default.
- ``best``: ``"row"`` or ``"column"``, in which the best of the ``compared`` columns or rows (by default all) is bold;
  ``lower``: names of rows or columns in which the lowest is best.
- ``machine``: whether the machine is named, too.

``[names]`` has what rows and columns are called in the pages where the file calls them otherwise; a table's own ``names``
are for it alone.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NUMBERS = ROOT / "docs" / "numbers.csv"
COLUMNS = ["table", "row", "column", "value", "spread", "command", "date", "machine", "versions"]
MARKED = re.compile(r"(<!-- numbers: (\S+) -->\n).*?(<!-- /numbers -->)", re.DOTALL)


@cache
def specification() -> dict[str, Any]:
    """What is measured by which command, and shown in which table."""
    return tomllib.loads((ROOT / "docs" / "numbers.toml").read_text(encoding="utf-8"))


def read(file: Path = NUMBERS) -> pd.DataFrame:
    """All numbers, one in each line."""
    if not file.exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(file, dtype=dict.fromkeys(COLUMNS, str) | {"value": float, "spread": float})


def write(numbers: pd.DataFrame, file: Path = NUMBERS) -> None:
    """Write all numbers, sorted by their table."""
    numbers.sort_values("table", kind="stable").to_csv(file, index=False, float_format="%.5g")


def pages() -> Iterator[Path]:
    """Pages that may have tables."""
    yield ROOT / "README.md"
    # Not all below docs/, where built pages are as well.
    yield from sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("decisions/*.md")])


def filled(text: str, numbers: pd.DataFrame) -> str:
    """A page with its tables as the numbers are."""
    return MARKED.sub(lambda found: f"{found[1]}{rendered(found[2], numbers)}{found[3]}", text)


def write_pages() -> list[str]:
    """Write all pages whose tables have changed; their names."""
    numbers, changed = read(), []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := filled(text, numbers)) != text:
            page.write_text(new, encoding="utf-8")
            changed.append(page.relative_to(ROOT).as_posix())
    return changed


def cell(formats: str | list[str], values: dict[str, float]) -> str:
    """The first format that has all its values; empty if none has."""
    for format in [formats] if isinstance(formats, str) else formats:
        try:
            return re.sub(r"-(?=[\d.])", "−", format.format_map(values)).replace("%", " %")
        except KeyError:
            continue
    return ""


def number_in(text: str) -> float | None:
    """The first number of a cell."""
    found = re.search(r"[−-]?\d[\d,]*\.?\d*", text)
    return float(found[0].replace("−", "-").replace(",", "")) if found else None


def with_best(cells: pd.DataFrame, view: dict[str, Any]) -> pd.DataFrame:
    """Cells with the best of each row or column in bold."""
    by_row = view["best"] == "row"
    table = cells if by_row else cells.T
    for name, row in table.iterrows():
        compared = [key for key in view.get("compared", table.columns) if number_in(row[key]) is not None]
        found = [number_in(row[key]) for key in compared]
        if not found:
            continue
        best = min(found) if name in view.get("lower", ()) else max(found)
        for key, number in zip(compared, found, strict=True):
            if number == best:
                table.loc[name, key] = re.sub(r"[−-]?\d[\d,]*\.?\d*", r"**\g<0>**", row[key], count=1)
    return table if by_row else table.T


def measured(lines: pd.DataFrame, machine: bool) -> str:
    """Commands, dates and versions of some numbers."""
    runs: dict[tuple[str, str], list[str]] = {}
    for (command, date), part in lines.groupby(["command", "date"], sort=False):
        versions = ", ".join(dict.fromkeys(", ".join(part["versions"].unique()).split(", ")))
        where = f"; {', '.join(part['machine'].unique())}" if machine else ""
        runs.setdefault((date, versions + where), []).append(f"`python tests/benchmarks/{command}`")
    return "; ".join(f"{' and '.join(commands)} ({date}; {how})" for (date, how), commands in runs.items())


def rendered(name: str, numbers: pd.DataFrame) -> str:
    """One table in Markdown, with what it was measured by."""
    spec = specification()
    view = spec["tables"][name]
    names = spec["names"] | view.get("names", {})
    of = view.get("of", name)
    lines = numbers[numbers["table"].isin([of] if isinstance(of, str) else of)]
    if lines.empty:
        raise KeyError(f"Table {name!r} has no numbers in {NUMBERS.name}; make numbers measures them.")
    row, column = ("column", "row") if view.get("transpose") else ("row", "column")
    columns = view.get("columns", lines[column].unique().tolist())
    if not isinstance(columns, dict):
        columns = dict.fromkeys(columns, "")
    standard = view.get("format", ".3f")
    columns = {heading: formats or f"{{{heading}:{standard}}}" for heading, formats in columns.items()}
    table, used = {}, []
    for key in view.get("rows", lines[row].unique().tolist()):
        part = lines[lines[row] == key]
        values = dict(zip(part[column], part["value"], strict=True))
        values |= {f"{c} ±": s for c, s in zip(part[column], part["spread"], strict=True) if s == s}
        table[key] = [cell(formats, values) for formats in columns.values()]
        if not any(table[key]):
            raise KeyError(f"Table {name!r} has no numbers in row {key!r}.")
        text = str(list(columns.values()))
        used.append(part[[f"{{{c}:" in text for c in part[column]]])
    cells = pd.DataFrame.from_dict(table, orient="index", columns=list(columns))
    if "best" in view:
        cells = with_best(cells, view)
    parts = [[names.get(part, part) for part in key.split(" | ")] for key in cells.index]
    headings = view.get("headings", [""] * len(parts[0]))
    out = [
        [*headings, *(names.get(column, column).strip() for column in cells)],
        ["---"] * (len(headings) + len(columns)),
    ]
    out += [[*part, *row] for part, row in zip(parts, cells.to_numpy().tolist(), strict=True)]
    text = "\n".join(f"| {' | '.join(row)} |" for row in out)
    return f"{text}\n\n{measured(pd.concat(used), view.get('machine', False))}\n"
