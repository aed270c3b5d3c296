"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

from pathlib import Path  # typer reads annotations when it runs
from typing import Annotated, Any, NamedTuple

import typer

from ._tables import table_files

Input = Annotated[
    Path, typer.Argument(metavar="IN.h5mu", help="MuData file, or folder of zarr.", show_default=False)
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder written by 'fit'.", show_default=False)]
MudataOut = Annotated[
    Path, typer.Argument(metavar="OUT.h5mu", help="File to write, .h5mu or .zarr.", show_default=False)
]
TableOut = Annotated[
    Path,
    typer.Argument(
        metavar="OUT.csv", help="Table to write, .csv, .tsv, .csv.gz or .tsv.gz.", show_default=False
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of split, weights and minibatches.")]
Prepare = Annotated[
    bool,
    typer.Option(
        "--prepare",
        help="Bring the data to the model's features: those that they lack are missing values, others are left out.",
    ),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        help="Table of names of features in the data, names in the model and, optionally, factors that convert "
        "units, such as ephys=names.csv; implies --prepare; can be repeated."
    ),
]
MinFeatures = Annotated[
    float,
    typer.Option(min=0, max=1, help="With --prepare, smallest fraction of features that the data must have."),
]
Normalize = Annotated[
    bool,
    typer.Option(
        "--normalize",
        help="Bring expression values, such as raw counts, onto the model's normalisation; implies --prepare.",
    ),
]
MatchMedians = Annotated[
    bool,
    typer.Option(
        "--match-medians",
        help="Where the model's total cannot be restored, bring genes to their typical expression by one factor; "
        "implies --normalize.",
    ),
]
MaxEpochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of epochs. Default: enough for as many training steps as there are pairs, from 100 to 500.",
    ),
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="MODALITY=FILE",
        help="Table of a modality, such as rna=counts.csv.gz, or obs=FILE for annotations of cells: csv, tsv, h5ad, "
        "10x folder; cells in rows or columns. Can be repeated.",
    ),
]
Join = Annotated[
    list[str] | None,
    typer.Option(
        help="With --table, join cells whose names differ in this: case, blanks, decimals, all or suffix; or keep the "
        "part of names that a regular expression has in parentheses."
    ),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(help="With --table, a word or number that means missing, such as -999; can be repeated."),
]
Transposed = Annotated[
    list[str] | None,
    typer.Option(
        help="With --table, a modality whose table has cells in columns, or none; can be repeated. Default: found."
    ),
]
RoundCounts = Annotated[bool, typer.Option("--round-counts", help="With --table, round expected counts.")]
StripVersions = Annotated[
    bool, typer.Option("--strip-versions", help="With --table, remove versions of Ensembl identifiers.")
]
DropSpikeIns = Annotated[
    bool, typer.Option("--drop-spike-ins", help="With --table, leave out ERCC spike-ins.")
]
DropZeroGenes = Annotated[
    bool, typer.Option("--drop-zero-genes", help="With --table, leave out genes without a count.")
]


#: Methods of ``align_query``.
METHODS = ("class_balanced", "moments", "ranks")
Align = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[MODALITY=]METHOD",
        help="Bring recordings of 50 cells or more to the distribution of the training cells: class_balanced (within "
        "classes), moments (means and standard deviations) or ranks; of a modality that is named where several could be, "
        "such as ephys=moments; implies --prepare; can be repeated.",
    ),
]


class Preparation(NamedTuple):
    """How data are brought to a model.

    Parameters
    ----------
    rename
        Tables of names by modality.
    min_features
        Smallest fraction of a modality's features that the data must have.
    normalize, match_medians
        Whether expression values are brought onto the model's normalisation, and whether by one factor where its total
        cannot be restored.
    align
        Modalities, ``None`` for the only one that can be, and methods by which they are aligned.
    """

    rename: dict[str, Path]
    min_features: float
    normalize: bool
    match_medians: bool
    align: dict[str | None, str]

    @property
    def wanted(self) -> bool:
        """Whether any option implies that data are prepared."""
        return bool(self.rename or self.normalize or self.align)


def preparation(
    rename: list[str] | None,
    min_features: float,
    normalize: bool,
    match_medians: bool,
    align: list[str] | None,
) -> Preparation:
    """What the options say, checked as far as it can be without data."""
    return Preparation(
        renaming_tables(rename), min_features, normalize or match_medians, match_medians, alignments(align)
    )


def name_list(texts: list[str] | None) -> list[str] | None:
    """Names in options, each of which has one or several, with commas between them."""
    if not texts:
        return None
    found = [name.strip() for text in texts for name in text.split(",")]
    if not all(found):
        raise typer.BadParameter(f"{','.join(texts)!r} is not a list of names, such as rna,ephys.")
    return found


def by_modality(texts: list[str] | None, example: str) -> dict[str, str]:
    """Values by modality, from texts of the form MODALITY=VALUE."""
    found: dict[str, str] = {}
    for text in texts or []:
        modality, _, value = text.partition("=")
        if not modality or not value:
            raise typer.BadParameter(f"{text!r} is not of the form MODALITY=VALUE, such as {example}.")
        if modality in found:
            raise typer.BadParameter(f"{modality!r} has two values: {found[modality]} and {value}.")
        found[modality] = value
    return found


def alignments(texts: list[str] | None) -> dict[str | None, str]:
    """Methods of alignment by modality, from texts of the form METHOD or MODALITY=METHOD."""
    found: dict[str | None, str] = {}
    for text in texts or []:
        modality, _, method = text.rpartition("=")
        if method not in METHODS:
            raise typer.BadParameter(f"{text!r} is not a method, {', '.join(METHODS)}, or MODALITY=METHOD.")
        if found and (not modality or None in found or modality in found):
            raise typer.BadParameter(
                f"{text!r} is one method too many. Name each modality once: ephys={method}."
            )
        found[modality or None] = method
    return found


def existing_tables(texts: list[str] | None) -> dict[str, Path]:
    """Existing files of tables by modality."""
    return table_files(by_modality(texts, "rna=counts.csv"))


def table_options(
    join: list[str] | None, missing: list[str] | None, transposed: list[str] | None, **flags: bool
) -> dict[str, Any]:
    """Arguments of :func:`~scvi_cae.io.read_tables`."""
    turned = [] if transposed == ["none"] else transposed or None
    rule = join[0] if join and len(join) == 1 else join or None
    return {"join": rule, "missing": missing or [], "transposed": turned, **flags}


def renaming_tables(texts: list[str] | None) -> dict[str, Path]:
    """Existing files of names by modality."""
    files = {modality: Path(name) for modality, name in by_modality(texts, "ephys=names.csv").items()}
    for path in files.values():
        if not path.is_file():
            raise FileNotFoundError(f"--rename: there is no file {path}. Check the path.")
    return files
