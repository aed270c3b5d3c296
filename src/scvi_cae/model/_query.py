"""Data of other cells: brought to a model's features, and models that are adapted to them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from scvi_cae._arguments import shorten
from scvi_cae.data import (
    check_mudata,
    modality_matrix,
    prepare_query,
    unlike_training,
    warn_unlike_training,
)

from ._core import QUERY_REPORT, CoreModel
from ._fitted import Adaptation, for_query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from scvi_cae.data._query import Rename

logger = logging.getLogger("scvi_cae")


class QueryMixin(CoreModel):
    """Queries: data of other cells, which may lack features or name them differently."""

    @classmethod
    def prepare_query_mudata(
        cls,
        mdata: MuData,
        reference_model: Self | str | Path,
        rename: Mapping[str, Rename] | None = None,
        min_features: float = 0.2,
    ) -> MuData:
        """Bring other data to the features of a trained model, which can then embed them and predict from them.

        Features that the data lack become missing values, which the model accepts; features unknown to the model are
        left out. Values are compared with those of the training cells: a warning names features whose unit seems to
        differ, and the factor that corrects it.

        Parameters
        ----------
        mdata
            MuData of other cells, with at least one of the model's modalities; it may be a view or backed by a file.
            It is not changed, and need not be set up.
        reference_model
            Trained model, or the folder that :meth:`save` wrote.
        rename
            For modalities whose features have other names than the model's, one of

            - the model's names by the data's: ``{"ephys": {"Vm": "Resting membrane potential (mV)"}}``;
            - a function from a name to a name: ``{"rna": str.capitalize}``;
            - a table as :func:`scvi_cae.pp.ephys_names` returns: names in the data, names in the model, and factors
              that convert units. In place of a name in the data it may have a formula with names in backticks,
              ``"`peak` - `threshold`"``, of numbers and ``+ - * / **``; it gives NaN where a value is missing or a
              divisor is 0. Further columns are ignored if the third is named ``factor``, and so are rows with features
              that the data or the model lack.
        min_features
            Smallest fraction of a modality's features that the data must have.

        Returns
        -------
        New MuData in memory, of the modalities that the model and the data share, each with the model's features in
        its order, NaN where the data lack them. ``.uns["scvi_cae_query"]`` holds a report for each modality: the number
        of cells; the numbers of the model's features that the data have, have by another name, and lack; the number of
        features left out; and the names of features that are ``missing``, ``dropped``, or ``unlike_training``. The
        numbers are logged by logger ``scvi_cae`` at level INFO, which ``logging.basicConfig(level="INFO")`` shows.

        Raises
        ------
        TypeError
            If ``mdata`` is not a MuData, a modality does not hold numbers, or ``rename`` is of another type.
        ValueError
            If model and data share no modality, or too few features of one; if ``rename`` names a feature that the
            data or the model lack, or has a formula that is more than arithmetic; if two features of the data map to the same one of the model; if a layer that the
            model reads is missing; if the folder holds no saved model.

        Warns
        -----
        UserWarning
            If values of features are unlike those of the training cells.

        Examples
        --------
        >>> import mudata
        >>> import scvi_cae
        >>> cells = scvi_cae.datasets.simulate_patchseq(n_cells=300)
        >>> mdata, other = cells[:200].copy(), cells[200:]
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> other = mudata.MuData({"rna": other["rna"][:, :150].copy(), "ephys": other["ephys"].copy()})
        >>> query = scvi_cae.CoupledAE.prepare_query_mudata(other, model)
        >>> int(query.uns["scvi_cae_query"]["rna"]["n_missing"])
        50
        >>> model.predict(source="rna", target="ephys", adata=query).shape
        (100, 24)
        """
        trained = (
            cls.load(reference_model, adata=False)
            if isinstance(reference_model, (str, Path))
            else reference_model
        )
        setup = trained.setup
        features = {name: setup.features[name] for name in setup.modalities}
        query, table = prepare_query(mdata, features, rename, min_features, setup.layers)
        report: dict[str, dict[str, Any]] = {}
        for row in table.to_dict("records"):
            name = row.pop("modality")
            moments = trained.feature_moments(name)
            unlike: list[str] = []
            if moments is not None:
                values = modality_matrix(query, name, setup.layers.get(name))
                found = unlike_training(values, moments[0], moments[1], features[name])
                warn_unlike_training(name, found)
                unlike = found["feature"].tolist()
            report[name] = _writable({**row, "unlike_training": unlike})
            logger.info(
                "Modality %r: %d cells; %d of %d features found, %d of them renamed, %d missing; %d features left out; "
                "%d unlike the training data.",
                name,
                row["n_cells"],
                row["n_matched"],
                len(features[name]),
                row["n_renamed"],
                row["n_missing"],
                row["n_dropped"],
                len(unlike),
            )
        query.uns[QUERY_REPORT] = report
        return query

    @classmethod
    def load_query_data(
        cls,
        adata: MuData,
        reference_model: Self | str | Path,
        arms: Sequence[str] | None = None,
        layers: Literal["outer", "all"] = "outer",
    ) -> Self:
        """Make a model of other data that starts from a trained one, for fine-tuning by :meth:`train`.

        Standardisation and running statistics of latents are those of the reference. Layers that do not learn keep
        their weights: latents of frozen arms do not move, and the others stay in the same space. The reference itself
        is not changed.

        Parameters
        ----------
        adata
            MuData with the reference's features in the modalities that it has, as :meth:`prepare_query_mudata` returns
            it. Cells may lack any modality; pairs help, but are not needed.
        reference_model
            Trained model, or the folder that :meth:`save` wrote.
        arms
            Names of the arms that learn; by default those that ``adata`` has.
        layers
            Their layers that learn: ``"outer"``, those that touch the data (the encoder's first and the decoder's
            last), which suffices for another set-up, amplifier or protocol; or ``"all"``.

        Returns
        -------
        A model of ``adata``, which embeds and predicts like the reference until :meth:`train` fine-tunes it, best with a
        lower learning rate (``plan_kwargs={"lr": 1e-3}``) and fewer epochs than the reference.

        Raises
        ------
        RuntimeError
            If the reference is not trained.
        ValueError
            If ``adata`` has none of the reference's modalities, or other features; if ``arms`` names an arm that the
            reference or the data lack; if the folder holds no saved model.

        Examples
        --------
        >>> import scvi_cae
        >>> cells = scvi_cae.datasets.simulate_patchseq(n_cells=400)
        >>> mdata, other = cells[:200].copy(), cells[200:].copy()
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> query = scvi_cae.CoupledAE.prepare_query_mudata(other, model)
        >>> adapted = scvi_cae.CoupledAE.load_query_data(query, model, arms=["ephys"])
        >>> adapted.train(max_epochs=10, plan_kwargs={"lr": 1e-3}, enable_progress_bar=False)
        """
        if layers not in ("outer", "all"):
            raise ValueError(f"layers={layers!r} must be 'outer' or 'all'.")
        reference = (
            cls.load(reference_model, adata=False)
            if isinstance(reference_model, (str, Path))
            else reference_model
        )
        fitted, setup = reference._trained(), reference.setup
        check_mudata(adata)
        there = [name for name in setup.arms if setup.has(adata, name)]
        if not set(there) & set(setup.modalities):
            raise ValueError(
                f"The data have none of the model's modalities {shorten(setup.modalities)}; they have "
                f"{shorten(list(adata.mod))}. See prepare_query_mudata."
            )
        chosen = there if arms is None else [arms] if isinstance(arms, str) else list(arms)
        for name in chosen:
            setup.check_arm(name)
            if name not in there:
                raise ValueError(f"arms: the data lack {name!r}, from which its arm would learn.")
        if not chosen:
            raise ValueError("arms names no modality: nothing would learn.")
        registry = reference.registry_
        cls.setup_mudata(adata, source_registry=registry, **registry["setup_args"])
        settings = {name: x for name, x in reference.init_params_["non_kwargs"].items() if name != "mdata"}
        model = cls(adata, **{**settings, "registry": registry})
        model.module.load_state_dict(reference.module.state_dict())
        cells = adata.obs_names.astype(str).to_numpy(dtype=object)
        model.fitted = for_query(fitted, cells, Adaptation(chosen, layers))
        model.module.adapt(chosen, layers)
        model.module.eval()
        return model


def _writable(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of the report in types that files can hold: names in arrays."""
    return {
        str(key): np.array(value, dtype=object) if isinstance(value, (list, tuple)) else value
        for key, value in row.items()
    }
