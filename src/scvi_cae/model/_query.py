"""From other data to what a trained model reads."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch

from scvi_cae._arguments import shorten
from scvi_cae.data import (
    modality_matrix,
    prepare_query,
    tensor,
    unlike_training,
    warn_unlike_training,
)

from ._novelty import MOST_CELLS, Reconstruction, Typical, reconstruct
from ._prediction import PredictingModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from scvi_cae.data._query import Rename

#: Where the report of a query is.
REPORT = "scvi_cae_query"

logger = logging.getLogger("scvi_cae")


class QueryModel(PredictingModel):
    """A model that takes other data, which have some of its features only, or name them differently."""

    @classmethod
    def prepare_query_mudata(
        cls,
        mdata: MuData,
        model: Self | str | Path,
        rename: Mapping[str, Rename] | None = None,
        min_features: float = 0.2,
    ) -> MuData:
        """Give other data the features of a trained model, so that it embeds them and predicts from them.

        Features that the data lack are missing values, which the model takes; features that the model does not know
        are left out. Values are compared with those of the training cells: of features whose unit seems to be
        another, a warning says so, and by what to multiply them.

        Parameters
        ----------
        mdata
            MuData of other cells, of one of the model's modalities or more; a view or backed by a file, if need be.
            It is not changed, and need not be set up.
        model
            Trained model, or the folder that :meth:`save` wrote.
        rename
            For modalities whose features have other names than the model's, one of

            - the model's names by the data's: ``{"ephys": {"Vm": "Resting membrane potential (mV)"}}``;
            - a function from a name to a name: ``{"rna": str.capitalize}``;
            - a table of three columns, as :func:`scvi_cae.datasets.ephys_names` gives: names in the data, names in
              the model, and factors by which values are multiplied, to convert units. Rows whose features the data or
              the model do not have are passed over.
        min_features
            Least fraction of a modality's features that the data must have.

        Returns
        -------
        New MuData in memory, of the modalities that the model and the data have, each with the model's features in
        its order, NaN where the data lack them. ``.uns["scvi_cae_query"]`` has a report for each modality: the number
        of cells; how many of the model's features the data have, also by another name, and lack; how many features
        were left out; and the names of features that are ``missing``, ``dropped``, or ``unlike_training``. The same
        is logged, without the names, by logger ``scvi_cae`` at level INFO, which
        ``logging.basicConfig(level="INFO")`` shows.

        Raises
        ------
        TypeError
            If ``mdata`` is not a MuData, a modality does not hold numbers, or ``rename`` is something else.
        ValueError
            If model and data share no modality, or too few features of one; if ``rename`` names a feature that the
            data or the model do not have; if two features of the data are the same one of the model; if a layer that
            the model reads is missing; if there is no saved model in the folder.

        Warns
        -----
        UserWarning
            Values of features are unlike those that the model was trained on.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> other = scvi_cae.datasets.simulate_patchseq(n_cells=100, n_genes=150)
        >>> query = scvi_cae.CoupledAE.prepare_query_mudata(other, model)
        >>> int(query.uns["scvi_cae_query"]["rna"]["n_missing"])
        50
        >>> model.predict(source="rna", target="ephys", adata=query).shape
        (100, 24)
        """
        trained = cls.load(model, adata=False) if isinstance(model, (str, Path)) else model
        layers = trained.registry_["setup_args"]["layers"]
        features = {name: trained._features(name) for name in trained.measured}
        query, table = prepare_query(mdata, features, rename, min_features, layers)
        report: dict[str, dict[str, Any]] = {}
        for row in table.to_dict("records"):
            name = row.pop("modality")
            moments = trained.feature_moments(name)
            unlike: list[str] = []
            if moments is not None:
                values = modality_matrix(query, name, layers.get(name))
                found = unlike_training(values, *moments, features[name])
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
        query.uns[REPORT] = report
        return query

    def novelty(
        self,
        adata: MuData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> pd.DataFrame:
        """How far cells are from those that the model knows, in one modality.

        Two things make a cell novel: values that the autoencoder, which learnt how features go together, cannot
        reconstruct, and a latent where no cells were. What is typical is taken from the validation cells, which are
        like the training cells but did not train; from a model without any it is taken from the training cells, which
        are reconstructed a little too well: other cells then seem a little more novel than they are.

        Parameters
        ----------
        adata
            MuData with the model's features; the one the model was made with by default.
        modality
            Key of the modality; it may be left out if ``adata`` has only one of the model's.
        indices
            Positions of cells; all by default.

        Returns
        -------
        Data frame of the cells with ``distance``, about 1 for a typical cell, and ``tail``, the fraction of typical
        cells that are at least as far away: cells with a small one, such as below 0.01, had better not be predicted
        from. NaN for cells without the modality.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If the modality is one of labels, or must be named; if there is nothing to say what is typical: a model that
            was saved without ever being asked, and loaded without data.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> model.novelty(modality="ephys").columns.tolist()
        ['distance', 'tail']
        """
        if modality is None:
            there = [name for name in self.measured if adata is not None and name in adata.mod]
            if len(there) != 1:
                raise ValueError(f"Name the modality: modality=... is one of {shorten(self.measured)}.")
            modality = there[0]
        if modality in self.labels:
            raise ValueError(
                f"{modality!r} are labels: a class is known, or it is not. Name a modality that is measured."
            )
        mdata, cells = self._query(adata, indices, [modality])
        typical = self._typical(modality)
        out = pd.DataFrame(np.nan, index=mdata.obs_names[cells], columns=["distance", "tail"])
        has = self._aligned_modality(mdata, modality).present[cells]
        if has.any():
            distance = typical.distance(self._reconstruct(mdata, modality, cells[has]))
            out.loc[has, "distance"], out.loc[has, "tail"] = distance, typical.tail(distance)
        return out

    def _reconstruct(self, mdata: MuData, modality: str, cells: np.ndarray) -> Reconstruction:
        """What a modality's arm makes of cells that have it."""
        self.module.eval()
        aligned, arm = self._aligned_modality(mdata, modality), self.module.arm(modality)
        parts, order = [], []
        for places, values in aligned.chunks(cells):
            batch = tensor(aligned.batch(cells[places]), self.device)
            parts.append(reconstruct(arm, arm.observe(torch.from_numpy(values).to(self.device), batch)))
            order.append(places)
        back = np.argsort(np.concatenate(order))
        return Reconstruction(*(np.concatenate(part)[back] for part in zip(*parts, strict=True)))

    def _typical(self, modality: str) -> Typical:
        """What is typical of a modality; kept, and saved with the model, once it has been asked for."""
        if modality not in self.typical_:
            if self.adata is None:
                raise ValueError(
                    f"The model does not know what is typical of {modality!r}: ask model.novelty(modality={modality!r}) "
                    "before you save it, or load it with its data."
                )
            has = self._aligned_modality(self.adata, modality).present
            sets = (self.validation_indices_, self.train_indices_)
            known = [np.asarray(x)[has[np.asarray(x)]] for x in sets if x is not None]
            # Fewer cells than that say nothing of a covariance.
            cells = next((x for x in known if len(x) > 2 * self.module.n_latent), np.empty(0, dtype=np.int64))
            if not len(cells):
                raise ValueError(
                    f"Too few cells with {modality!r} trained or validated the model to say what is typical."
                )
            if len(cells) > MOST_CELLS:
                cells = np.sort(np.random.RandomState(0).choice(cells, MOST_CELLS, replace=False))
            typical = Typical.of(self._reconstruct(self.adata, modality, cells))
            self.typical_ = {**self.typical_, modality: tuple(typical)}
        return Typical(*self.typical_[modality])


def _writable(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of the report as files can hold it: names in arrays."""
    return {
        str(key): np.array(value, dtype=object) if isinstance(value, (list, tuple)) else value
        for key, value in row.items()
    }
