"""Data of other cells: brought to a model's features, and models that are adapted to them."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from mudata import MuData

from scvi_cae._arguments import shorten
from scvi_cae._mudata import annotations_apart
from scvi_cae.data import (
    QUERY_REPORT,
    Reference,
    check_mudata,
    check_scale,
    modality_matrix,
    normalize_expression,
    prepare_query,
    unlike_training,
    warn_unlike_training,
)

from ._core import CoreModel
from ._distribution import MIN_CELLS
from ._fitted import Adaptation, for_query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scvi_cae.data._query import Rename

    from ._distribution import Shift

logger = logging.getLogger("scvi_cae")

#: What a report says of a modality before its values are compared with those of the training cells, or aligned.
NOT_ALIGNED: dict[str, Any] = {"unlike_training": [], "shifted": False, "aligned": ""}
#: Smallest number of cells that are judged together.
MIN_JUDGED = 5


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
        features left out; and the names of features that are ``missing``, ``dropped``, or ``unlike_training``; whether all features together are
        ``shifted``; and ``aligned``, empty until :meth:`align_query`. The numbers are logged by logger ``scvi_cae`` at level INFO, which ``logging.basicConfig(level="INFO")`` shows.

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
            If values of features are unlike those of the training cells, or all features of a narrow modality together
            are of another distribution, whatever classes the cells are of; if expression values are on another
            normalisation than theirs, which :meth:`normalize_query` changes.

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
        references = trained.expression_references
        query, table = prepare_query(mdata, features, rename, min_features, setup.layers, references)
        report: dict[str, dict[str, Any]] = {}
        for row in table.to_dict("records"):
            name = row.pop("modality")
            matrix = modality_matrix(query, name, setup.layers.get(name))
            on_scale = name not in references or check_scale(query[name], matrix, name, references[name])
            judged = trained._judge(name, matrix) if on_scale else {}
            report[name] = _writable({**row, **NOT_ALIGNED, **judged})
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
                len(report[name]["unlike_training"]),
            )
        query.uns[QUERY_REPORT] = report
        return query

    @property
    def expression_references(self) -> dict[str, Reference]:
        """What the values of each modality are that holds expression of genes, with the genes' means."""
        found = {}
        for name, normalization in self.setup.normalizations.items():
            moments = None if self.fitted is None else self.fitted.moments.get(name)
            if moments is not None and moments.expression is not None:
                genes = pd.Index(self.setup.features[name])
                found[name] = Reference(normalization, genes, moments.expression)
        return found

    def _judge(self, modality: str, matrix: Any) -> dict[str, Any]:
        """Compare values with those of the training cells, and warn once: of units, else of their distribution.

        Parameters
        ----------
        modality
            Key of the modality.
        matrix
            ``(n_cells, n_features)`` values of the query.

        Returns
        -------
        ``unlike_training``, names of features that seem to have other units, and ``shifted``, whether all together are of
        another distribution.
        """
        moments = self.feature_moments(modality)
        if moments is None:
            return {}
        features = self.setup.features[modality]
        distribution = None if self.fitted is None else self.fitted.distributions.get(modality)
        shift = None
        if distribution is not None and matrix.shape[0] >= MIN_JUDGED:
            values = matrix.toarray() if hasattr(matrix, "toarray") else matrix
            shift = distribution.shift(np.asarray(values, dtype=np.float64))
        found = unlike_training(matrix, moments[0], moments[1], features)
        if len(found):
            warn_unlike_training(modality, found)
        elif shift is not None and shift.found:
            warn_of_shift(modality, shift, features, matrix.shape[0])
        return {"unlike_training": found["feature"].tolist(), "shifted": shift is not None and shift.found}

    def normalize_query(self, query: MuData, match_medians: bool = False) -> MuData:
        """Bring the expression values of a query onto the normalisation of the model's training data.

        A model reads values as it was trained: logarithms of 1 + counts per million over certain genes, for instance.
        The same cells on another total, or under another logarithm, are other cells to it. What its values are is
        recorded in the set-up, from ``.uns["normalization"]`` or from the values themselves
        (``model.setup.normalizations``). Those of a query are told in the same way, from all of its genes, by
        :meth:`prepare_query_mudata`, which warns if the two differ.

        Parameters
        ----------
        query
            What :meth:`prepare_query_mudata` returned. It is not changed.
        match_medians
            What to do where the model's total cannot be restored, because the query has too few of the genes that it is
            over, or these are unknown. ``False`` (default): raise an error. ``True``: multiply the values of all cells,
            before the logarithm, by one factor, after which the median of the ratios of mean expression in the training
            cells and in the query is 1, over the half of the shared genes with the highest expression. The factor is
            right as far as the query's cells are of the same types.

        Returns
        -------
        New MuData with the model's values in each modality that holds expression, NaN where the query lacks a gene; a
        modality that is on the model's normalisation already, and any other, is as it was.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If the query was not prepared, its values are not recognised as counts or as logarithms of counts, or the
            total cannot be restored and ``match_medians`` is false; if no gene is expressed in both query and training.

        Notes
        -----
        Values before the logarithm are counts up to a factor of each cell, whatever their total is. So the base of the
        logarithm is all that has to be known of the query; its values are divided by their sum over the genes that the
        model's total is over, and multiplied by that total. Genes that the query lacks may hold at most 2 % of the total
        in the training cells. Where values are not recognised, raw counts in ``layers["counts"]`` are used.

        Examples
        --------
        >>> import anndata, mudata, warnings
        >>> import scvi_cae
        >>> cells = scvi_cae.datasets.simulate_patchseq(n_cells=300)
        >>> mdata, other = cells[:200].copy(), cells[200:]["rna"].copy()
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> print(model.setup.normalizations["rna"])
        natural logarithms of 1 + counts per 1,000,000 over 200 genes
        >>> raw = mudata.MuData(
        ...     {"rna": anndata.AnnData(other.layers["counts"], var=other.var, obs=other.obs)}
        ... )
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")  # "... call normalize_query ..."
        ...     query = scvi_cae.CoupledAE.prepare_query_mudata(raw, model)
        >>> query = model.normalize_query(query)
        >>> float(abs(query["rna"].X - other.X).max()) < 1e-4
        True
        """
        self._trained()
        check_mudata(query)
        if QUERY_REPORT not in query.uns:
            raise ValueError(
                "The query was not prepared. Its scale is told from all of its genes: query = "
                "CoupledAE.prepare_query_mudata(mdata, model); query = model.normalize_query(query)."
            )
        report = {name: dict(row) for name, row in query.uns[QUERY_REPORT].items()}
        modalities = {name: adata.copy() for name, adata in query.mod.items()}
        for name, reference in self.expression_references.items():
            if name in modalities:
                layer = self.setup.layers.get(name)
                normalize_expression(modalities[name], layer, name, reference, match_medians)
                matrix = modalities[name].X if layer is None else modalities[name].layers[layer]
                report[name] |= _writable(self._judge(name, matrix))
        with annotations_apart():
            normalized = MuData(modalities, obs=pd.DataFrame(query.obs).copy())
        normalized.uns = {**copy.deepcopy(dict(query.uns)), QUERY_REPORT: report}
        return normalized

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
            MuData with the reference's features in the modalities that it has, as :meth:`prepare_query_mudata` or
            :meth:`align_query` returns it. Cells may lack any modality; pairs help, but are not needed. Of a query that
            is distributed otherwise, align the values first: the training starts from there.
        reference_model
            Trained model, or the folder that :meth:`save` wrote.
        arms
            Names of the arms that learn; by default those that ``adata`` has.
        layers
            Their layers that learn: ``"outer"``, those that touch the data (the encoder's first and the decoder's
            last), which suffices for another set-up, amplifier or protocol; or ``"all"``.

        Returns
        -------
        A model of ``adata``, which embeds and predicts like the reference until :meth:`train` fine-tunes it. The
        training's loss has a penalty for leaving the weights of the reference, which weighs less the more pairs there
        are: without any, the model stays close to the reference.

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
        >>> adapted.train(max_epochs=10, enable_progress_bar=False)
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


def warn_of_shift(modality: str, shift: Shift, features: Sequence[str], n_cells: int) -> None:
    """Warn that the values of a query are of another distribution than those of the training cells.

    Parameters
    ----------
    modality, features
        Names of the modality and its features.
    shift
        The difference.
    n_cells
        Number of cells of the query.
    """
    scores = np.nan_to_num(shift.scores)
    far = np.argsort(-np.abs(scores), kind="stable")[:3]
    named = ", ".join(f"{features[j]!r} ({'higher' if scores[j] > 0 else 'lower'})" for j in far)
    advice = (
        "bring it to the training's distribution: query = model.align_query(query)"
        if n_cells >= MIN_CELLS
        else f"correct factors by rename; {MIN_CELLS} cells or more could be aligned (model.align_query)"
    )
    warnings.warn(
        f"Modality {modality!r}: whatever types its {n_cells} cells are of, the query is not distributed as the training "
        f"cells (p = {shift.p_value:.1g}), above all in {named}: another unit, definition, rig or temperature. Predictions "
        f"are biased, and intervals and sets of classes do not hold. Compare units and definitions; then {advice}.",
        UserWarning,
        stacklevel=4,
    )


def _writable(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of the report in types that files can hold: names in arrays."""
    return {
        str(key): np.array(value, dtype=object) if isinstance(value, (list, tuple)) else value
        for key, value in row.items()
    }
