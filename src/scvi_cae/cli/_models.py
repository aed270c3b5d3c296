"""Models on the command line: a single one or an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from scvi_cae._archives import ARCHIVES, check_archive, saved_class

if TYPE_CHECKING:
    from pathlib import Path

#: Options that a single model has and an ensemble has not: why, and what to do.
SINGLE = {
    "train_size": "With --n-models N, each model is trained without one Nth of the cells. Leave out --train-size, or "
    "choose another N.",
    "stratify_by": "With --n-models, parts of the cells have equal shares of all patterns of modalities and labels. "
    "Leave out --stratify-by, or give the column as --labels-key.",
    "checkpoint": "Models of an ensemble are trained together, without a checkpoint. Leave out --checkpoint, or "
    "--n-models.",
    "devices": "Models of an ensemble are trained together on one device. Leave out --devices, or --n-models.",
}


def check_fit_options(n_models: int, group_by: str | None, **given: bool) -> None:
    """Refuse options that only a single model has, or only an ensemble.

    Parameters
    ----------
    n_models
        Number of models.
    group_by
        Column of groups.
    **given
        Whether options of a single model are given.
    """
    refused = [name for name in given if given[name]]
    if n_models > 1 and refused:
        option = "--" + refused[0].replace("_", "-")
        raise typer.BadParameter(SINGLE[refused[0]], param_hint=f"'{option}'")
    if n_models == 1 and group_by is not None:
        raise typer.BadParameter(
            "Groups are not divided between the parts that models of an ensemble are trained without. Add --n-models 5, "
            "or leave out --group-by.",
            param_hint="'--group-by'",
        )


def check_model(folder: Path) -> None:
    """Check that a folder holds a model or an ensemble, as far as can be known before torch is imported.

    Raises
    ------
    ValueError
        If it does not, or its file is damaged.
    """
    name = _class_name(folder)
    check_archive(folder / ARCHIVES[name], name)


def load(folder: Path) -> Any:
    """The trained model, or the ensemble, in a folder.

    Raises
    ------
    ValueError
        If it is not complete, or not trained.
    """
    import scvi_cae

    model = getattr(scvi_cae, _class_name(folder)).load(folder, adata=False)
    if not model.is_trained:
        raise ValueError(f"The model in {folder} is not trained. Train it and save it again.")
    return model


def _class_name(folder: Path) -> str:
    return saved_class(folder) or "CoupledAE"
