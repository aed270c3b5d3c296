"""Text files: separator, decimal mark, header, encoding and compression are found."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from scvi_cae.io import _parse
from scvi_cae.io._parse import read_text

PLAIN = "cell,a,b\nc1,1.5,2\nc2,,4\n"
EXPECTED = np.array([[1.5, 2], [np.nan, 4]])


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def values(table):
    return table.numbers.toarray() if hasattr(table.numbers, "toarray") else table.numbers


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", ";").replace(".", ","),  # Excel in most of Europe
        PLAIN.replace(",", "\t").replace(".", ","),
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN,
        '"cell","a","b"\n"c1","1.5","2"\n"c2",NA,"4"\n',
        '"a" "b"\n"c1" 1.5 2\n"c2" NA 4\n',  # write.table of R: the header is one short
        "a\tb\nc1\t1.5\t2\nc2\tNA\t4\n",
        "cell   a   b\nc1     1.5 2\nc2     NA  4\n",
        "cell,a,b\nc1,1.5,2,\nc2,,4,\n",  # rows end with a separator
        "# Program: x; Command: y\n" + PLAIN,
        PLAIN + ",,\n",  # an empty row of a spreadsheet
    ],
)
def test_layouts_are_found(tmp_path, text):
    table = read_text("ephys", write(tmp_path / "table.txt", text))
    np.testing.assert_array_equal(values(table), EXPECTED)
    assert list(table.header[table.numeric]) == ["a", "b"]
    assert list(table.text[0]) == ["c1", "c2"]


def test_compression_and_encodings_are_found_whatever_the_ending(tmp_path):
    text = PLAIN.replace("a,", "depth (µm),")
    for i, content in enumerate(
        [gzip.compress(text.encode()), text.encode("cp1252"), text.encode("utf-16"), text.encode("utf-8-sig")]
    ):
        (path := tmp_path / f"{i}.tsv").write_bytes(content)
        table = read_text("ephys", path)
        assert table.header[1] == "depth (µm)"
        np.testing.assert_array_equal(values(table), EXPECTED)


def test_names_stay_as_they_are_written(tmp_path):
    text = 'cell,"""apical"" height",x,x\n001,1,2,3\nNA,4,5,6\nnan,7,8,9\n'
    table = read_text("morph", write(tmp_path / "t.csv", text))
    assert list(table.header) == ["cell", '"apical" height', "x", "x"]
    assert list(table.text[0]) == ["001", "NA", "nan"]


def test_large_tables_are_read_in_pieces_and_kept_sparse(tmp_path, monkeypatch):
    monkeypatch.setattr(_parse, "VALUES", 8)
    counts = np.random.default_rng(0).poisson(0.3, (50, 4))
    rows = "".join(f"g{i},{','.join(map(str, row))}\n" for i, row in enumerate(counts))
    table = read_text("rna", write(tmp_path / "t.csv", "gene,c1,c2,c3,c4\n" + rows))
    np.testing.assert_array_equal(table.numbers.toarray(), counts)
    assert list(table.text[0]) == [f"g{i}" for i in range(50)]
    # A column that is text in one piece alone is text.
    table = read_text("rna", write(tmp_path / "t.csv", "gene,c1,c2,c3,c4\n" + rows.replace("g49,", "g49,x")))
    assert list(table.header[table.numeric]) == ["c2", "c3", "c4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("one column\n1\n2\n", "has no columns that commas"),
        ("cell,a,b\n", "has a header and no rows"),
        (PLAIN + "c3,5\n", r"has 3 columns in its header and 2 in line 4\. Give each row a value"),
        (PLAIN + "c3,1,2\n" * 30 + "c4,1\n", "damaged, or no table .*fewer values than the header's 3"),
        (PLAIN + "c3,1,2\n" * 30 + "c4,1,2,3,4\n", "damaged, or no table .*saw 5"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_text("ephys", write(tmp_path / "t.csv", text))


def test_a_truncated_download_is_refused(tmp_path):
    content = gzip.compress(("cell,a,b\n" + "".join(f"c{i},{i / 7},2\n" for i in range(2000))).encode())
    (tmp_path / "t.csv.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="download or export it again"):
        read_text("ephys", tmp_path / "t.csv.gz")
