"""The app, and commands that train. They import torch when they run, so that help and usage errors are immediate."""

from __future__ import annotations

from enum import StrEnum
from importlib.metadata import version
from pathlib import Path  # typer reads annotations when it runs
from typing import Annotated, Any

import typer

from scvi_cae._files import remove_unfinished, write_file, write_folder

from ._cells import embed, map_cells, novelty, predict
from ._files import MUDATA, check_input, check_output, read_mudata
from ._messages import note, reporting
from ._models import check_fit_options
from ._options import (
    DropSpikeIns,
    DropZeroGenes,
    Join,
    MaxEpochs,
    Missing,
    MudataOut,
    Overwrite,
    RoundCounts,
    Seed,
    StripVersions,
    Tables,
    Transposed,
    by_modality,
    existing_tables,
    name_list,
    table_options,
)
from ._recordings import recordings
from ._tables import read as read_table_files

app = typer.Typer(
    help="Coupled autoencoders for Patch-seq and other partially paired multimodal single-cell data.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

MODEL_FILES, ENSEMBLE_FILES = ("model.pt",), ("ensemble.pt", "models")
DEMO_FILES = ("latent.h5mu", "model", "umap.png", "training.png", "scores.csv")


class DemoName(StrEnum):
    """Data sets of the demonstration."""

    simulated = "simulated"
    scala2020 = "scala2020"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("scvi-cae"))
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Coupled autoencoders for Patch-seq and other partially paired multimodal single-cell data."""


def _train(model: Any, **kwargs: Any) -> None:
    """Train a model or an ensemble with a progress bar on stderr; raise on Ctrl-C, so that nothing incomplete is written."""
    from ._progress import TrainingProgress

    model.train(enable_progress_bar=False, callbacks=[TrainingProgress()], **kwargs)
    # An ensemble raises by itself.
    if len(model.models) == 1 and model.trainer.interrupted:
        checkpoint = kwargs.get("checkpoint")
        kept = checkpoint is not None and checkpoint.exists()
        raise KeyboardInterrupt(f"the same command goes on from {checkpoint}" if kept else "")


@app.command()
@reporting()
def read(
    out: MudataOut,
    table: Tables = None,
    join: Join = None,
    missing: Missing = None,
    transposed: Transposed = None,
    round_counts: RoundCounts = False,
    strip_versions: StripVersions = False,
    drop_spike_ins: DropSpikeIns = False,
    drop_zero_genes: DropZeroGenes = False,
    overwrite: Overwrite = False,
) -> None:
    """Read tables of a laboratory into a MuData file, for the other commands.

    Prints what was found: cells, pairs, missing values, and what is worth a look.
    """
    files = existing_tables(table)
    if not files:
        raise typer.BadParameter("Give at least one --table, such as --table rna=counts.csv.")
    check_output(out, overwrite, MUDATA)
    mdata = read_table_files(
        files,
        **table_options(
            join,
            missing,
            transposed,
            round_counts=round_counts,
            strip_versions=strip_versions,
            drop_spike_ins=drop_spike_ins,
            drop_zero_genes=drop_zero_genes,
        ),
    )

    from scvi_cae._mudata import write_mudata

    write_file(out, lambda path: write_mudata(mdata, path))
    remove_unfinished(out)
    note(f"Wrote {out}.")


@app.command()
@reporting()
def fit(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[IN.h5mu] OUT",
            help="MuData file, or folder of zarr, unless --table gives the data; and folder for the model.",
            show_default=False,
        ),
    ],
    table: Tables = None,
    join: Join = None,
    missing: Missing = None,
    transposed: Transposed = None,
    round_counts: RoundCounts = False,
    strip_versions: StripVersions = False,
    drop_spike_ins: DropSpikeIns = False,
    drop_zero_genes: DropZeroGenes = False,
    modalities: Annotated[
        list[str] | None,
        typer.Option(help="Modality to couple; can be repeated, or rna,ephys. Default: all."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Layer of a modality to read, such as rna=logcounts; can be repeated."),
    ] = None,
    likelihood: Annotated[
        list[str] | None,
        typer.Option(
            help="Likelihood of a modality, such as rna=negative_binomial for raw counts or ephys=gaussian; "
            "can be repeated."
        ),
    ] = None,
    batch_key: Annotated[
        list[str] | None,
        typer.Option(help="Column of technical batches of a modality, such as rna=batch; can be repeated."),
    ] = None,
    labels_key: Annotated[
        list[str] | None,
        typer.Option(help="Column of cell labels, which become an additional modality; can be repeated."),
    ] = None,
    stratify_by: Annotated[
        str | None, typer.Option(help="Column of .obs by which the split is stratified.")
    ] = None,
    n_models: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of models. With 2 or more an ensemble, each of whose models is trained without one part of the "
            "cells; regressions predict beside them.",
        ),
    ] = 1,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="With --n-models, column of groups that are not divided between parts, such as donors."
        ),
    ] = None,
    n_latent: Annotated[int, typer.Option(min=1, help="Latent dimensions.")] = 10,
    max_epochs: MaxEpochs = None,
    train_size: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Fraction of training cells; other cells are for validation. Default: 0.9."
        ),
    ] = None,
    seed: Seed = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Store the state of the training in FILE, and resume from it if it exists, after an "
            "interrupted run. It is deleted once the model is saved.",
        ),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Device type for training: auto, cpu, gpu ...")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Number of devices that share each minibatch; on a CPU, processes.")
    ] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Train a model, or an ensemble of models, on a MuData file or on tables, and save it to a folder."""
    names, layers, files = name_list(modalities), by_modality(layer, "rna=logcounts"), existing_tables(table)
    if len(paths) != (1 if files else 2):
        given = (
            "With --table, give one path: the folder for the model"
            if files
            else "Give a MuData file and a folder"
        )
        raise typer.BadParameter(f"{given}; there are {len(paths)} paths.", param_hint="'[IN.h5mu] OUT'")
    check_fit_options(
        n_models,
        group_by,
        train_size=train_size is not None,
        stratify_by=stratify_by is not None,
        checkpoint=checkpoint is not None,
        devices=devices > 1,
    )
    *data, out = paths
    check_output(out, overwrite, folder_of=MODEL_FILES if n_models == 1 else ENSEMBLE_FILES)
    if checkpoint is not None:
        check_output(checkpoint, overwrite=True)
    options = table_options(
        join,
        missing,
        transposed,
        round_counts=round_counts,
        strip_versions=strip_versions,
        drop_spike_ins=drop_spike_ins,
        drop_zero_genes=drop_zero_genes,
    )
    if files:
        mdata = read_table_files(files, **options)
    elif any(value not in (None, [], False) for value in options.values()):
        raise typer.BadParameter("Options for tables need --table.")
    else:
        check_input(data[0])
        mdata = read_mudata(data[0])

    import scvi

    from scvi_cae.model import CoupledAE, Ensemble
    from scvi_cae.model._ensemble_files import check_ensemble_folder

    scvi.settings.seed = seed
    CoupledAE.setup_mudata(
        mdata,
        modalities=names,
        layers=layers,
        batch_key=by_modality(batch_key, "rna=batch"),
        labels_key=labels_key,
        likelihoods=by_modality(likelihood, "rna=negative_binomial"),
    )
    if n_models > 1:
        check_ensemble_folder(out)
        note(f"Training {n_models} models together ...")
        ensemble = Ensemble(mdata, n_models, n_latent=n_latent)
        _train(ensemble, max_epochs=max_epochs, group_by=group_by, accelerator=accelerator)
        ensemble.save(out, overwrite)
        note(f"Saved the ensemble to {out}.")
        return
    model = CoupledAE(mdata, n_latent=n_latent)
    distributed = {} if devices == 1 else {"devices": devices, "strategy": "ddp"}
    _train(
        model,
        max_epochs=max_epochs,
        train_size=train_size,
        stratify_by=stratify_by,
        checkpoint=checkpoint,
        accelerator=accelerator,
        **distributed,
    )
    if not model.trainer.is_global_zero:
        return
    write_folder(out, lambda folder: model.save(folder, overwrite=True), overwrite)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    note(f"Saved the model to {out}.")


app.command()(embed)
app.command()(predict)
app.command()(novelty)
app.command("map")(map_cells)
app.command()(recordings)


@app.command()
@reporting()
def demo(
    data: Annotated[
        DemoName, typer.Option(help="Data set; scala2020 is downloaded if needed.")
    ] = DemoName.simulated,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo"),
    max_epochs: MaxEpochs = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Fit, embed, plot and score a data set, in a minute or two.

    Writes the latents (latent.h5mu), an ensemble (model), a UMAP of both modalities' latents (umap.png), training
    curves (training.png) and scores of the ensemble and of baselines on held-out cells (scores.csv), which it
    also prints.
    """
    check_output(out, overwrite, folder_of=DEMO_FILES)
    note("Loading ...")

    from scvi_cae import _demo
    from scvi_cae._mudata import annotations_apart

    with annotations_apart():
        mdata, keys, split = _demo.load(data.value, seed)
        model = _demo.make_model(mdata, seed)
        _train(model, max_epochs=max_epochs, external_indexing=[split.train, None, split.test])
        note("Scoring on held-out cells, embedding and plotting ...")
        scores = _demo.score_model(model, keys, data.value, seed)
        write_folder(out, lambda folder: _demo.write_results(folder, model, scores, keys, seed), overwrite)
    _demo.print_scores(scores)
    note(f"Wrote {', '.join(DEMO_FILES)} to {out}.")
