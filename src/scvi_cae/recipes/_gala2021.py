"""Model and training of Gala et al. 2021."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scvi_cae.model import CoupledAE

#: Arguments that choose the cells of a split, which is the same in all stages of a training.
SPLIT_ARGUMENTS = ("train_size", "validation_size", "stratify_by", "external_indexing")
#: Arguments that define a stage.
STAGE_ARGUMENTS = ("max_epochs", "batch_size", "datasplitter_kwargs", "monitor", "monitor_after")


@dataclass(frozen=True)
class Recipe:
    """A model and its training, as arguments.

    Parameters
    ----------
    model
        Arguments of :class:`scvi_cae.CoupledAE`.
    training
        Arguments of :meth:`scvi_cae.CoupledAE.train` for each stage of the training.
    """

    model: Mapping[str, Any]
    training: tuple[Mapping[str, Any], ...]

    def train(self, model: CoupledAE, **kwargs: Any) -> None:
        """Train a model through all stages, with the same cells.

        Parameters
        ----------
        model
            The model, made with the ``model`` of the recipe.
        **kwargs
            Further arguments of :meth:`scvi_cae.CoupledAE.train`, such as ``external_indexing``, for every stage.
            ``plan_kwargs`` are added to the recipe's.

        Raises
        ------
        TypeError
            If an argument is one that defines a stage.
        """
        fixed = [name for name in STAGE_ARGUMENTS if name in kwargs]
        if fixed:
            raise TypeError(
                f"{fixed[0]} defines the stages of a recipe. Change the recipe: its arguments, or "
                "dataclasses.replace(recipe, training=[...])."
            )
        for number, stage in enumerate(self.training):
            given = {name: x for name, x in kwargs.items() if number == 0 or name not in SPLIT_ARGUMENTS}
            plan = {**stage.get("plan_kwargs", {}), **kwargs.get("plan_kwargs", {})}
            model.train(**{**stage, **given, "plan_kwargs": plan})
            if model.trainer.interrupted:
                return


def gala2021(
    rna: str = "rna",
    ephys: str = "ephys",
    *,
    n_latent: int = 3,
    coupling: float = 1.0,
    n_epochs: int = 1500,
    n_fine_tuning: int = 500,
    choose_epoch: bool = True,
    latent_bias: bool = True,
) -> Recipe:
    r"""Model and training of Gala et al., Nature Computational Science 2021.

    Networks of four hidden layers (50 units for transcriptomes, 40 for electrophysiology), a batch-normalised
    latent, dropout of half of the genes, noise and dropout of a tenth of the electrophysiological features; weights
    of 1 for every reconstruction, cross-modal prediction and coupling; Adam at a constant rate of 0.001; epochs of
    500 batches of 200 cells drawn with replacement; then steps on all training cells at once. With validation
    cells, the first stage ends with the weights that predict them best after epoch 1000: the least sum of both
    modalities' own errors and of the squared distance between latents.

    Values are not standardised, as in the paper: give log-transformed counts per million and scaled
    electrophysiology (:func:`scvi_cae.pp.scale_blocks`, :func:`scvi_cae.pp.robust_scale`).

    Parameters
    ----------
    rna, ephys
        Keys of the two modalities.
    n_latent
        Number of latent dimensions; 3 in the paper's figures, also 5 and 10.
    coupling
        Weight :math:`\lambda` of the coupling. With 0, decoders do not learn from the other modality's latent.
    n_epochs
        Number of epochs of 500 steps.
    n_fine_tuning
        Number of steps on all training cells at once; 0 for none.
    choose_epoch
        Whether the first stage ends with the epoch that predicts the validation cells best, rather than the last one.

        The published scripts differ: the runs in the paper's figures took the last epoch and then fine-tuned
        (``choose_epoch=False``); the last script takes the best epoch and does not fine-tune (``n_fine_tuning=0``);
        one in between saved both. The default chooses the best epoch, then fine-tunes.
    latent_bias
        Whether the encoders' last layer has a bias, which batch normalisation removes again. The published
        weights have it (157,826 parameters for 1,252 genes and 68 features); later scripts do not (157,820).

    Returns
    -------
    The recipe.

    Notes
    -----
    Two details differ on purpose, because the published ones use held-out cells or missing values: noise is scaled by
    the variance among training cells (published: all cells) and is added to measured values only (published: also to
    the zeros in place of missing ones). torch's Adam adds its epsilon of 1e-7 after the correction of bias, Keras before.

    References
    ----------
    Gala et al., "Consistent cross-modal identification of cortical neurons with coupled autoencoders", Nature
    Computational Science 1, 120-127 (2021). https://doi.org/10.1038/s43588-021-00030-1

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.pp.robust_scale(mdata, modality="ephys")
    >>> scvi_cae.CoupledAE.setup_mudata(mdata, modalities=["rna", "ephys"])
    >>> recipe = scvi_cae.recipes.gala2021(n_epochs=1, n_fine_tuning=2)
    >>> model = scvi_cae.CoupledAE(mdata, **recipe.model)
    >>> recipe.train(model, train_size=0.9, enable_progress_bar=False)
    """
    shared = {
        "activation": "relu",
        "linear": False,
        "standardise": False,
        "clip": None,
        "weight": 1.0,
        "cross_weight": 1.0,
        "cross_gradient": 0.0,
        "cross_map": False,
    }
    published = {
        "initialisation": "glorot",
        "scale_missing": False,
        "latent_bias": latent_bias,
        "latent_momentum": 0.95,
        "latent_eps": 1e-10,
        "error_over": "all",
    }
    arms = {
        rna: {
            **shared,
            "hidden": (50,) * 4,
            "dropout": 0.5,
            "noise": 0.0,
            "published": {**published, "nonnegative": True},
        },
        ephys: {
            **shared,
            "hidden": (40,) * 4,
            "dropout": 0.1,
            "noise": 0.05,
            "published": {**published, "noise_unit": "variance", "decoder_dropout": 0.1},
        },
    }
    adam = {"optimizer": "Adam", "lr": 1e-3, "eps": 1e-7, "weight_decay": 0.0, "schedule": "constant"}
    errors = [f"{name}_from_{name}_validation" for name in (rna, ephys)]
    # Uncoupled latents are not compared.
    distance = [f"distance_{rna}_{ephys}_validation"] if coupling else []
    bootstrap = {
        "max_epochs": n_epochs,
        "batch_size": 200,
        "datasplitter_kwargs": {"bootstrap_batches": 500},
        "plan_kwargs": adam,
        "monitor": [*errors, *distance] if choose_epoch else None,
        "monitor_after": 1000,
    }
    fine_tuning = {"max_epochs": n_fine_tuning, "batch_size": None, "plan_kwargs": adam, "monitor": None}
    return Recipe(
        model={
            "n_latent": n_latent,
            "arms": arms,
            "coupling": {(rna, ephys): coupling},
            "coupling_loss": "min_variance",
            "latent_axes": "network",
        },
        training=(bootstrap, fine_tuning) if n_fine_tuning else (bootstrap,),
    )
