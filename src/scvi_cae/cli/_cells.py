"""Commands that take a trained model and cells. They import torch when they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scvi_cae._files import remove_unfinished, write_file

from ._files import MUDATA, SEPARATORS, check_input, check_output, read_mudata, write_table
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
    preparation,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ._options import Preparation


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
    align: Align = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a copy of a MuData file with latents of its cells.

    The joint latent is stored in .obsm[KEY], the latent of modality M in .obsm[KEY_M] and in .obsm[KEY] of
    the modality. One of the model's modalities suffices. With --prepare, too, the copy has all features of the
    file.
    """
    how = preparation(rename, min_features, normalize, match_medians, align)
    loaded, mdata = _open(model, data, out, MUDATA, overwrite)
    if not set(loaded.modalities) & set(mdata.mod):
        raise ValueError(
            f"{data} has none of the model's modalities {loaded.modalities}; it has {list(mdata.mod)}. "
            "Rename its modalities."
        )

    from scvi_cae._mudata import write_mudata

    from . import _query

    if prepare or how.wanted:
        _query.write_latent(loaded, _query.prepare(mdata, loaded, how), mdata, key)
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
        list[str],
        typer.Option(help="Modality to predict from; can be repeated, or rna,morph.", show_default=False),
    ],
    target: Annotated[str, typer.Option(help="Modality or column of labels to predict.", show_default=False)],
    quantiles: Annotated[
        list[float] | None,
        typer.Option(
            help="Quantile of a cell's value, such as 0.05, instead of its expected value; can be repeated."
        ),
    ] = None,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate", help="Calibrate quantiles on cells of the data that have source and target."
        ),
    ] = False,
    prepare: Prepare = False,
    rename: Rename = None,
    min_features: MinFeatures = 0.2,
    normalize: Normalize = False,
    match_medians: MatchMedians = False,
    align: Align = None,
    overwrite: Overwrite = False,
) -> None:
    """Predict a modality from others: a table of cells by features, in the units of the training data.

    Rows of cells that lack all sources are empty. For labels, the table holds class probabilities. With --quantiles, it
    has a row for each cell, feature and quantile: columns cell, feature, quantile and value. Of aligned data, predictions
    of the aligned modality are in their own units.
    """
    sources = name_list(source) or []
    how = preparation(rename, min_features, normalize, match_medians, align)
    loaded, mdata = _open(model, data, out, tuple(SEPARATORS), overwrite)
    query = _prepared(mdata, loaded, prepare, how)
    prediction = loaded.predict(
        sources, target, adata=query, quantiles=quantiles or None, recalibrate=recalibrate
    )
    prediction = prediction.reindex(_cells(mdata))
    empty, named = int(prediction.isna().all(axis=1).sum()), " and ".join(map(repr, sources))
    if empty == len(prediction):
        raise ValueError(
            f"No cell of {data} has a value of {named}; the file has modalities {list(mdata.mod)}. Choose "
            "another --source."
        )
    if quantiles:
        from scvi_cae.model._tables import tidy_table

        write_table(tidy_table(prediction).set_index("cell"), out)
    else:
        write_table(prediction, out)
    lacking = f"; {empty} of them lack {named} and have empty rows" if empty else ""
    note(f"Wrote {out}: {target!r} of {len(prediction)} cells from {named}{lacking}.")


@reporting()
def novelty(
    model: Model,
    data: Input,
    out: TableOut,
    modality: Annotated[
        str | None, typer.Option(help="Modality to judge; needed if the data have several of the model's.")
    ] = None,
    prepare: Prepare = False,
    rename: Rename = None,
    min_features: MinFeatures = 0.2,
    normalize: Normalize = False,
    match_medians: MatchMedians = False,
    align: Align = None,
    overwrite: Overwrite = False,
) -> None:
    """Write how far cells are from those that a model knows: a table of distances and p-values.

    A distance is about 1 for a training cell. The p-value is the fraction of reference cells that are at least as far
    away: what is predicted from a cell with a small one is unreliable. Rows of cells that lack the modality are empty.
    """
    how = preparation(rename, min_features, normalize, match_medians, align)
    loaded, mdata = _open(model, data, out, tuple(SEPARATORS), overwrite)
    query = _prepared(mdata, loaded, prepare, how)
    table = loaded.novelty(query, modality).reindex(_cells(mdata))
    write_table(table, out)
    few, known = int((table["p_value"] < 0.05).sum()), int(table["p_value"].notna().sum())
    note(
        f"Wrote {out}: {few} of {known} cells have a p-value below 0.05, where 5% of cells like the training's have."
    )


@reporting()
def map_cells(
    model: Model,
    data: Input,
    out: TableOut,
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Column of labels, such as rna_family; can be repeated, or a,b. Default: all."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Modality to map from; can be repeated, or rna,ephys. Default: all."),
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
    how = preparation(rename, min_features, normalize, match_medians, align)
    loaded, mdata = _open(model, data, out, tuple(SEPARATORS), overwrite)

    from . import _query

    table = loaded.map_query(
        _query.prepare(mdata, loaded, how), name_list(labels), name_list(source), coverage
    )
    write_table(table.reindex(_cells(mdata)), out)
    columns = [name.removesuffix("_calibrated") for name in table if name.endswith("_calibrated")]
    for name in columns:
        note(
            f"Labels {name!r}: {table[name].notna().sum()} of {mdata.n_obs} cells mapped; sets of {coverage:g} calibrated "
            f"for {table[f'{name}_calibrated'].sum()} of them."
        )
    note(f"Wrote {out}.")


def _open(model: Path, data: Path, out: Path, endings: Sequence[str], overwrite: bool) -> tuple[Any, Any]:
    """The model and the data, after a check of all paths."""
    check_output(out, overwrite, endings)
    check_model(model)
    check_input(data)
    return load(model), read_mudata(data)


def _prepared(mdata: Any, model: Any, prepare: bool, how: Preparation) -> Any:
    """The data, brought to the model's features if that is asked for."""
    if not (prepare or how.wanted):
        return mdata

    from . import _query

    return _query.prepare(mdata, model, how)


def _cells(mdata: Any) -> Any:
    """Names of the cells of a file, as the index of a table."""
    return mdata.obs_names.rename("cell")
