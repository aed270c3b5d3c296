"""A trained model that goes on learning from other data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from scvi_cae._arguments import shorten
from scvi_cae.data import check_mudata

from ._query import QueryModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData


class AdaptableModel(QueryModel):
    """A model that can be fine-tuned on other data than it was trained on."""

    @classmethod
    def load_query(
        cls,
        mdata: MuData,
        reference_model: Self | str | Path,
        arms: Sequence[str] | None = None,
        layers: Literal["outer", "all"] = "outer",
    ) -> Self:
        """Make a model of other data that starts from a trained one, to be fine-tuned by :meth:`train`.

        Features are standardised as they were for the reference, and running statistics of latents stay as they are.
        What does not learn keeps its weights: latents of frozen arms do not move, and the others stay in their space.
        The reference itself is not changed.

        Parameters
        ----------
        mdata
            MuData with the reference's features in the modalities that it has, as :meth:`prepare_query_mudata` makes
            it. Cells may lack any modality; pairs help, but are not needed.
        reference_model
            Trained model, or the folder that :meth:`save` wrote.
        arms
            Modalities whose arms learn; by default those that ``mdata`` has.
        layers
            Which of their layers learn: ``"outer"``, those that touch the data (the encoder's first and the decoder's
            last), which is enough for another set-up, amplifier or protocol; or ``"all"``.

        Returns
        -------
        A model of ``mdata``. It embeds and predicts at once; :meth:`train` fine-tunes it, best with a lower learning
        rate (``plan_kwargs={"lr": 1e-3}``) and fewer epochs than the reference had.

        Raises
        ------
        RuntimeError
            If the reference is not trained.
        ValueError
            If ``mdata`` has none of the reference's modalities, or other features; if ``arms`` names a modality that
            the reference does not have, or the data lack; if there is no saved model in the folder.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> other = scvi_cae.datasets.simulate_patchseq(n_cells=100, seed=1)
        >>> query = scvi_cae.CoupledAE.prepare_query_mudata(other, model)
        >>> adapted = scvi_cae.CoupledAE.load_query(query, model, arms=["ephys"])
        >>> adapted.train(max_epochs=10, plan_kwargs={"lr": 1e-3}, enable_progress_bar=False)
        """
        if layers not in ("outer", "all"):
            raise ValueError(f"layers={layers!r} must be 'outer' or 'all'.")
        reference = (
            cls.load(reference_model, adata=False)
            if isinstance(reference_model, (str, Path))
            else reference_model
        )
        reference._check_if_trained(warn=False)
        check_mudata(mdata)
        there = [name for name in reference.modalities if reference._has(mdata, name)]
        if not set(there) & set(reference.measured):
            raise ValueError(
                f"The data have none of the model's modalities {shorten(reference.measured)}; they have "
                f"{shorten(list(mdata.mod))}. See prepare_query_mudata."
            )
        chosen = there if arms is None else [arms] if isinstance(arms, str) else list(arms)
        for name in chosen:
            reference._check_modality(name)
            if name not in there:
                raise ValueError(
                    f"arms: the data lack {name!r}; there is nothing that its arm could learn from."
                )
        if not chosen:
            raise ValueError("arms names no modality: nothing would learn.")
        registry = reference.registry_
        cls.setup_mudata(mdata, source_registry=registry, **registry["setup_args"])
        settings = {name: x for name, x in reference.init_params_["non_kwargs"].items() if name != "mdata"}
        model = cls(mdata, **{**settings, "registry": registry})
        model.module.load_state_dict(reference.module.state_dict())
        nobody = np.empty(0, dtype=np.int64)
        model.train_indices_, model.validation_indices_, model.test_indices_ = nobody, nobody, nobody
        model.obs_names_ = mdata.obs_names.astype(str).to_numpy()
        model.is_trained_, model.history_ = True, {}
        model.moments_ = reference.moments_
        model.axes_ = reference.axes_
        model.adapting_ = {"arms": chosen, "layers": layers}
        model._resume_adapting()
        model.module.eval()
        return model
