"""Commands that take a trained model and cells. They import torch when they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scvi_cae._files import remove_unfinished, write_file

from ._files import MUDATA, SEPARATORS, check_input, check_output, ending, read_mudata
from ._messages import note, reporting
from ._models import check_model, load
from ._options import (
    Align,
    Input,
    MatchMedians,
    MinFeatures,
    Model,
    MudataOut,
    Normalize,
    Overwrite,
    Prepare,
    Rename,
    TableOut,
    name_list,
    renaming_tables,
)

if TYPE_CHECKING:
    from pathlib import Path


@reporting()
def embed(
    model: Model,
    data: Input,
    out: MudataOut,
    key: Annotated[str, typer.Option(help="Key of the latents in .obsm.")] = "X_cae",
    prepare: Prepare = False,
    rename: Rename = None,
    min_features: MinFeatures = 0.2,
    normalize: Normalize = False,
    match_medians: MatchMedians = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a copy of a MuData file with latents of its cells.

    The joint latent is stored in .obsm[KEY], the latent of modality M in .obsm[KEY_M] and in .obsm[KEY] of
    the modality. One of the model's modalities suffices. With --prepare, too, the copy has all features of the
    file.
    """
    files = renaming_tables(rename)
    check_output(out, overwrite, MUDATA)
    check_model(model)
    check_input(data)
    loaded = load(model)
    mdata = read_mudata(data)
    if not set(loaded.modalities) & set(mdata.mod):
        raise ValueError(
            f"{data} has none of the model's modalities {loaded.modalities}; it has {list(mdata.mod)}. "
            "Rename its modalities."
        )

    from scvi_cae._mudata import write_mudata

    from . import _query

    if prepare or files or normalize or match_medians:
        query = _query.prepare(mdata, loaded, files, min_features, normalize, match_medians)
        _query.write_latent(loaded, query, mdata, key)
    else:
        loaded.write_latent(mdata, key=key)
    write_file(out, lambda path: write_mudata(mdata, path))
    remove_unfinished(out)
    note(f"Wrote {out}, with latents of {mdata.n_obs} cells in .obsm[{key!r}].")


@reporting()
def predict(
    model: Model,
    data: Input,
    out: TableOut,
    source: Annotated[
        str, typer.Option(help="Modality to predict from, or several, such as rna,morph.", show_default=False)
    ],
    target: Annotated[str, typer.Option(help="Modality or column of labels to predict.", show_default=False)],
    prepare: Prepare = False,
    rename: Rename = None,
    min_features: MinFeatures = 0.2,
    normalize: Normalize = False,
    match_medians: MatchMedians = False,
    overwrite: Overwrite = False,
) -> None:
    """Predict a modality from others: a table of cells by features, in the units of the training data.

    Rows of cells that lack all sources are empty. For labels, the table holds class probabilities.
    """
    sources, files = name_list(source), renaming_tables(rename)
    check_output(out, overwrite, tuple(SEPARATORS))
    check_model(model)
    check_input(data)
    loaded = load(model)
    mdata = read_mudata(data)
    query = mdata
    if prepare or files or normalize or match_medians:
        from . import _query

        query = _query.prepare(mdata, loaded, files, min_features, normalize, match_medians)
    prediction = loaded.predict(sources or [], target, adata=query).reindex(mdata.obs_names)
    empty = int(prediction.isna().all(axis=1).sum())
    if empty == len(prediction):
        raise ValueError(
            f"No cell of {data} has a value of {source!r}; the file has modalities {list(mdata.mod)}. Choose "
            "another --source."
        )

    _write_table(prediction, out)
    lacking = f"; {empty} of them lack {source!r} and have empty rows" if empty else ""
    note(f"Wrote {out}: {target!r} of {len(prediction)} cells from {source!r}{lacking}.")


@reporting()
def map_cells(
    model: Model,
    data: Input,
    out: TableOut,
    labels: Annotated[
        str | None, typer.Option(help="Columns of labels, such as rna_family,rna_type. Default: all.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Modality to map from, or several, such as rna,ephys. Default: all.")
    ] = None,
    coverage: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Probability that a cell's class is in its set.")
    ] = 0.9,
    rename: Rename = None,
    min_features: MinFeatures = 0.2,
    normalize: Normalize = False,
    match_medians: MatchMedians = False,
    align: Align = None,
    overwrite: Overwrite = False,
) -> None:
    """Map cells to the classes of a model's labels: a table with a class, its probability and a set of classes.

    The data are brought to the model's features. Cells that have a class in a column of the labels' name calibrate the
    sets. Columns NAME, NAME_probability, NAME_set and NAME_calibrated of each column of labels, novelty_p_MODALITY, and
    the sources that a cell was mapped from.
    """
    files = renaming_tables(rename)
    check_output(out, overwrite, tuple(SEPARATORS))
    check_model(model)
    check_input(data)
    loaded = load(model)
    mdata = read_mudata(data)

    from . import _query

    query = _query.prepare(mdata, loaded, files, min_features, normalize, match_medians, align)
    table = loaded.map_query(query, name_list(labels), name_list(source), coverage)
    _write_table(table.reindex(mdata.obs_names), out)
    columns = [name.removesuffix("_calibrated") for name in table if name.endswith("_calibrated")]
    for name in columns:
        note(
            f"Labels {name!r}: {table[name].notna().sum()} of {mdata.n_obs} cells mapped; sets of {coverage:g} calibrated "
            f"for {table[f'{name}_calibrated'].sum()} of them."
        )
    note(f"Wrote {out}.")


def _write_table(table: Any, out: Path) -> None:
    """Write a table of cells, whole or not at all."""
    end = ending(out, tuple(SEPARATORS)) or ""
    options: Any = {"sep": SEPARATORS[end], "compression": "gzip" if end.endswith(".gz") else None}
    write_file(out, lambda path: table.to_csv(path, index_label="cell", **options))
    remove_unfinished(out)
