"""Tables in text files: how they are written is found from what they hold."""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from ._columns import NO_VALUE
from ._table import Table, distinct_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: In the order in which they are preferred; runs of blanks count as one.
SEPARATORS = ("\t", ",", ";", "|", " ")
#: Number of values that are read at a time.
VALUES = 8_000_000
#: Missing values that are seen while numbers are parsed; others are found in columns of text.
_SPELLINGS = sorted({how(word) for word in NO_VALUE for how in (str, str.upper, str.capitalize)} | {"NaN"})
#: Lines by which the layout is found.
LINES = 20


@dataclass(frozen=True)
class Layout:
    """How a table is written.

    Parameters
    ----------
    encoding
        Encoding of the text.
    separator
        What separates columns.
    decimal
        Decimal mark.
    header
        Names of the columns, one for each column of the rows.
    skip
        Number of lines above the first row.
    n_above
        Number of separators in these lines.
    trailing
        Whether each row ends with a separator.
    """

    encoding: str
    separator: str
    decimal: str
    header: list[str]
    skip: int
    n_above: int
    trailing: bool


def read_text(name: str, path: Path) -> Table:
    """Read a table of text.

    Separator, decimal mark, quotes, encoding and compression are found from the contents. Values are read in pieces and
    kept sparse, so that a table of counts is never in memory as text.

    Parameters
    ----------
    name
        The modality.
    path
        The file.

    Raises
    ------
    ValueError
        If it is no table.
    """
    for encoding in (_wide(path) or "utf-8-sig", "cp1252"):
        try:
            layout = _layout(path, encoding)
            return _read(name, path, layout)
        except UnicodeDecodeError:
            continue
        except (pd.errors.ParserError, EOFError, gzip.BadGzipFile, csv.Error) as error:
            reason = re.sub(r"^Error tokenizing data\. C error: ", "", str(error)).strip().rstrip(".")
            raise ValueError(
                f"{path} is damaged, or no table of rows with as many values each ({reason}). Open it, and compare "
                "the lines with the header; download or export it again if it ends too early."
            ) from error
    raise ValueError(f"{path} is no text. Export the table as csv.")


def _wide(path: Path) -> str | None:
    """UTF-16, which Excel calls Unicode text, by its first bytes."""
    with _bytes(path) as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else None


def _bytes(path: Path) -> Any:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")


def _open(path: Path, encoding: str, separator: str = ",") -> _Counting:
    file = _Counting(_bytes(path), encoding=encoding, newline="")
    file.separator = separator
    return file


def _layout(path: Path, encoding: str) -> Layout:
    """Find how a file is written, from its first lines."""
    with _open(path, encoding) as file:
        lines = list(islice(file, LINES))
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} is empty. Check that it was downloaded or exported completely.")
    found = [guess for separator in SEPARATORS if (guess := _split(lines, separator)) is not None]
    if not found:
        raise ValueError(f"{path} {_why(lines)}")
    # A header with as many fields as each row says more than one that is one short; more columns say more than fewer.
    header, rows, skip, separator, _ = max(found, key=lambda guess: (guess[4], len(guess[1][0])))
    trailing = len(rows[0]) > len(header) and all(row[-1] == "" for row in rows)
    if len(rows[0]) > len(header) and not trailing:
        header = ["", *header]
    values = [field.strip() for row in rows for field in row]
    commas = separator != "," and any(re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", v) for v in values)
    points = any(re.fullmatch(r"[-+]?\d*\.\d+([eE][-+]?\d+)?", v) for v in values)
    decimal = "," if commas and not points else "."
    n_above = sum(line.count(separator) for line in lines[:skip])
    return Layout(encoding, separator, decimal, header, skip, n_above, trailing)


def _split(lines: list[str], separator: str) -> tuple[list[str], list[list[str]], int, str, bool] | None:
    """Header, rows, lines above the rows, separator and whether the header is complete, if lines are a table."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator == " ", strict=True)
    rows, ends = [], []
    try:
        for row in reader:
            if separator == " " and row and row[-1] == "":
                row = row[:-1]
            if any(field.strip() for field in row) or len(row) > 1:
                rows.append(row)
                ends.append(reader.line_num)
    except csv.Error:  # a quote that the next lines end, or none
        rows, ends = rows[:-1], ends[:-1]
    while len(rows) > 2 and rows[0][0].startswith("#") and len(rows[0]) != len(rows[1]):
        rows, ends = rows[1:], ends[1:]
    if len(rows) < 2 or len({len(row) for row in rows[1:]}) > 1:
        return None
    header, first = rows[0], rows[1]
    if len(first) < 2 or len(first) - len(header) not in (0, 1):
        return None
    return header, rows[1:], ends[0], separator, len(first) == len(header)


def _why(lines: list[str]) -> str:
    """Why lines are no table, and what to do."""
    rows = [line for line in lines if line.strip()]
    separator = max(SEPARATORS[:-1], key=rows[0].count)
    sizes = [len(row) for row in csv.reader(rows, delimiter=separator)]
    if sizes[0] < 2:
        return (
            "has no columns that commas, tabs, semicolons, bars or blanks separate, with a header above. Export the table "
            "as csv."
        )
    if len(sizes) == 1:
        return "has a header and no rows. Check that it was downloaded or exported completely."
    bad = next((i for i, size in enumerate(sizes) if size != sizes[0]), 1)
    return (
        f"has {sizes[0]} columns in its header and {sizes[bad]} in line {bad + 1}. Give each row a value for each column, NA "
        "where it is missing, and delete what is above the header."
    )


class _Counting(io.TextIOWrapper):
    """Text that counts what separates columns while it is read."""

    separator = ","
    n_separators = 0

    def read(self, size: int | None = -1, /) -> str:
        """The next characters."""
        text = super().read(size)
        self.n_separators += text.count(self.separator)
        return text


def _pieces(path: Path, layout: Layout, **options: Any) -> Iterator[pd.DataFrame]:
    """The rows, some at a time."""
    n = len(layout.header) + layout.trailing
    with (
        _open(path, layout.encoding, layout.separator) as file,
        pd.read_csv(
            file,
            sep=r"\s+" if layout.separator == " " else layout.separator,
            header=None,
            names=range(n),
            skiprows=layout.skip,
            decimal=layout.decimal,
            keep_default_na=False,
            low_memory=False,
            chunksize=max(1, VALUES // n),
            **options,
        ) as pieces,
    ):
        n_rows = 0
        for piece in pieces:
            if not isinstance(piece.index, pd.RangeIndex):
                raise pd.errors.ParserError(f"rows have more values than the header's {len(layout.header)}")
            n_rows += len(piece)
            yield piece.iloc[:, :-1] if layout.trailing else piece
        # pandas fills short rows with missing values. Quoted separators can only add to those between columns.
        if layout.separator != " " and file.n_separators < layout.n_above + n_rows * (n - 1):
            raise pd.errors.ParserError(f"rows have fewer values than the header's {len(layout.header)}")


def _read(name: str, path: Path, layout: Layout) -> Table:
    """Read numbers in one pass, and as text in another what is not numbers throughout, or may be names."""
    n = len(layout.header)
    blocks, numeric = [], np.ones(n, dtype=bool)
    for piece in _pieces(path, layout, na_values=_SPELLINGS):
        here = np.array([dtype.kind in "iuf" for dtype in piece.dtypes])
        values = np.zeros(piece.shape)
        values[:, here] = piece.loc[:, here].to_numpy(dtype=float)
        blocks.append(sparse.csr_matrix(values))
        numeric &= here
    positions = np.flatnonzero(numeric)
    numbers: Any = sparse.vstack(blocks, format="csr")[:, positions]
    if numbers.nnz > numbers.shape[0] * numbers.shape[1] / 2:
        numbers = numbers.toarray()
    ids = positions[distinct_whole(numbers)]
    wanted = sorted({0, *np.flatnonzero(~numeric).tolist(), *ids.tolist()})
    text = pd.concat(
        list(_pieces(path, layout, usecols=wanted, dtype=str, na_filter=False)), ignore_index=True
    ).astype(object)
    notes = []
    empty = (text == "").all(axis=1).to_numpy(copy=True)
    if empty.any() and not sparse.issparse(numbers):
        empty &= np.isnan(numbers).all(axis=1)
        numbers, text = numbers[~empty], text[~empty].reset_index(drop=True)
    if empty.any() and not sparse.issparse(numbers):
        notes.append(f"left out: {int(empty.sum())} empty rows")
    if layout.separator not in (",", "\t"):
        words = {";": "semicolons", "|": "bars", " ": "blanks"}[layout.separator]
        notes.append(f"columns are separated by {words}")
    if layout.decimal == ",":
        notes.append("commas are decimal marks: 1,234 is 1.234")
    header = pd.Index(layout.header, dtype=object)
    return Table(name, str(path), header, numbers, positions, text, decimal=layout.decimal, notes=notes)
