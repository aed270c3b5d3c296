"""Classes of other cells: the most probable one, a calibrated set, and whether the cell is like those that are known."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import QUERY_REPORT, check_mudata, check_not_view, label_names, obs_column
from scvi_cae.module import NARROW, OUTLIER

from ._class_correction import MIN_CELLS, select_correction
from ._class_sets import SEPARATOR, min_scores, set_names, threshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mudata import MuData

    from scvi_cae.data import AlignedData

#: Prefix of the columns that are written to a query.
PREFIX = "cae_"


class Mapper(Protocol):
    """What maps cells: a model, or an ensemble."""

    @property
    def models(self) -> Sequence[Any]:
        """The model, or those of the ensemble."""

    @property
    def modalities(self) -> list[str]:
        """Keys of the modalities."""

    @property
    def labels(self) -> list[str]:
        """Columns of labels."""

    def align(self, adata: Any) -> AlignedData:
        """Data for several calls."""

    def predict(self, source: Any, target: str, adata: Any, indices: Any) -> pd.DataFrame:
        """Class probabilities."""

    def novelty(self, adata: Any, modality: str) -> pd.DataFrame:
        """Distances of cells from those that are known."""

    def set_membership(self, adata: Any) -> pd.Series:
        """Sets of the cells."""

    def _class_scores(self, sources: Sequence[str], label: str) -> pd.Series: ...


class MappingMixin:
    """Classes of the cells of a query."""

    def map_query(
        self: Mapper,
        query: MuData,
        labels: str | Sequence[str] | None = None,
        source: str | Sequence[str] | None = None,
        coverage: float = 0.9,
        adapt: bool = True,
    ) -> pd.DataFrame:
        r"""Map cells to the classes of the model's labels, with sets that hold a cell's class with a known probability.

        Parameters
        ----------
        query
            MuData with the model's features, as :meth:`prepare_query_mudata` returns it. Results are written to its
            ``.obs``.
        labels
            Column of labels, or several, that the model was set up with; all by default.
        source
            Modality to map from, or several; by default all that are coupled with the labels. Of these, a cell is mapped
            from those that it has.
        coverage
            Probability with which the set holds the class of a cell.
        adapt
            Whether the query's own cells of known class, if there are 15 or more, also correct the probabilities of the
            others.

        Returns
        -------
        Data frame by cell. For each column of labels, such as ``rna_family``:

        ``rna_family``, ``rna_family_probability``
            The most probable class and its probability.
        ``rna_family_set``
            Classes in decreasing order of probability, with ``" | "`` between them; never empty. Missing for all cells
            if too few cells of known class calibrate it.
        ``rna_family_calibrated``
            Whether the set has its coverage for cells like this one, as far as is known. Not for a cell that the model was
            trained on.

        and for all of them:

        ``novelty_p_ephys``
            For each modality that the query has, the fraction of reference cells that are at least as unlike the
            training cells (:meth:`novelty`): a class of a cell with a small value is unreliable. NaN for a cell without
            the modality, and for all if the model has no reference cells.
        ``sources``
            Modalities that the cell was mapped from, with ``" | "`` between them; a cell with none has no class.

        ``query.obs`` has the same columns with the prefix ``cae_``, and anything under these names is replaced.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If the model has no such labels; if the query has no ``source``, or one is not coupled with the labels; if
            the query is a view, or has other features; if ``coverage`` is not between 0 and 1.

        Warns
        -----
        UserWarning
            If too few cells calibrate a set; if the query has classes that the model does not know.

        Notes
        -----
        The set holds the classes whose probability reaches a threshold, which is the same for all cells that are mapped
        from the same modalities. It is the quantile ``1 - coverage``, corrected for their finite number, of the
        probabilities that cells of known class were given for that class. These sets are the smallest of their coverage,
        on average over cells, if probabilities are right; if they are not, the coverage still holds. It does so on average
        over cells, not for each class. The most probable class is in the set even if it does not reach the threshold:
        where more than ``coverage`` of the cells have their class recognised, sets hold one class, and more often the right
        one.

        Probabilities are corrected to :math:`\operatorname{softmax}(t \log p + b + W^\top x)`, with :math:`x` the
        query's values of narrow modalities, standardised by its own cells. The fit to its cells of known class is drawn
        towards :math:`p`, as strongly as predicts best those left out of it in five parts, so that it does not become worse
        than the reference where that is right, nor than a regression on these cells alone where it is wrong. Each cell of
        known class is predicted, and scored for the sets, by a fit without its part.

        Cells of known class are, from the first that applies:

        - cells of the query that have a class in a column of the same name, if they are enough: 9 for a coverage of 0.9,
          more for stable sets (with 100, coverage varies by about 0.03). Then sets have their coverage for the query's
          other cells, however different these are from the training cells, as far as the cells of known class are a
          random sample of the query. Cells that the model was trained on, as one that is adapted to the query is, do not
          count. Label some cells of a query for this.
        - the validation cells of the training; for an ensemble, every training cell by the model that was not trained
          on it. Sets then have their coverage as far as the query's cells are like these:
          ``rna_family_calibrated`` is false for cells of a modality that, by ``query.uns["scvi_cae_query"]``, is shifted,
          was aligned, or lacks features.

        References
        ----------
        Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", Journal of the
        American Statistical Association 2019.

        Examples
        --------
        >>> import scvi_cae
        >>> cells = scvi_cae.datasets.simulate_patchseq(n_cells=400)
        >>> mdata, other = cells[:300].copy(), cells[300:].copy()
        >>> scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="cell_type")
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, train_size=0.8, enable_progress_bar=False)
        >>> query = scvi_cae.CoupledAE.prepare_query_mudata(other, model)
        >>> table = model.map_query(query, source="ephys")
        >>> table.columns.tolist()[:3]
        ['cell_type', 'cell_type_probability', 'cell_type_set']
        >>> "cae_cell_type_set" in query.obs
        True
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage={coverage!r} must be a probability between 0 and 1, such as 0.9.")
        check_mudata(query)
        check_not_view(query)
        data = self.align(query)
        columns = _columns(self, labels)
        sources = _sources(self, data, columns, source)
        there = np.stack([data[name].present for name in sources], axis=1)
        # An ensemble predicts a cell of its training by the models that were not trained on it.
        sets = getattr(self, "prediction_sets", self.set_membership)(data)
        seen = (sets == "training").to_numpy()
        table: dict[str, Any] = {}
        for label in columns:
            table |= _map_label(self, data, label, sources, there, seen, coverage, adapt)
        for name in self.modalities:
            if data.has(name):
                table[f"novelty_p_{name}"] = _p_values(self, data, name)
        text = np.full(data.n_cells, None, dtype=object)
        for subset, rows in _patterns(sources, there):
            text[rows] = SEPARATOR.join(subset)
        table["sources"] = pd.Categorical(text)
        found = pd.DataFrame(table, index=data.cells)
        for column in found:
            query.obs[f"{PREFIX}{column}"] = found[column]
        return found


def _columns(mapper: Mapper, labels: str | Sequence[str] | None) -> list[str]:
    """Columns of labels to map to."""
    known = mapper.labels
    if not known:
        raise ValueError(
            "The model has no labels to map to. Give them to the set-up: setup_mudata(mdata, labels_key='cell_type')."
        )
    wanted = known if labels is None else [labels] if isinstance(labels, str) else list(dict.fromkeys(labels))
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ValueError(f"labels={labels!r}: the model was set up with the labels {shorten(known)}.")
    return wanted


def _sources(
    mapper: Mapper, data: AlignedData, labels: Sequence[str], source: str | Sequence[str] | None
) -> list[str]:
    """Modalities of the query to map from, in the order of the model."""
    coupled = mapper.models[0].module.sources
    usable = [name for name in mapper.modalities if all(name in coupled[label] for label in labels)]
    wanted = usable if source is None else [source] if isinstance(source, str) else list(source)
    unknown = [name for name in wanted if name not in usable]
    if unknown or not wanted:
        raise ValueError(
            f"source={source!r}: the modalities that are coupled with {shorten(labels)} in this model are "
            f"{shorten(usable)}."
        )
    found = [name for name in usable if name in wanted and data.has(name)]
    if not found:
        raise ValueError(
            f"The query has none of the modalities {shorten(wanted)} to map from; it has {shorten(list(data.mdata.mod))}."
        )
    return found


def _patterns(sources: Sequence[str], there: np.ndarray) -> Iterator[tuple[list[str], np.ndarray]]:
    """Combinations of sources that cells have, and these cells; not those without any."""
    for pattern in np.unique(there, axis=0):
        if pattern.any():
            subset = [name for name, has in zip(sources, pattern, strict=True) if has]
            yield subset, np.flatnonzero((there == pattern).all(axis=1))


def _map_label(
    mapper: Mapper,
    data: AlignedData,
    label: str,
    sources: Sequence[str],
    there: np.ndarray,
    seen: np.ndarray,
    coverage: float,
    adapt: bool,
) -> dict[str, Any]:
    """Columns of the result for one column of labels.

    Parameters
    ----------
    mapper, data, label, sources
        The model, data of the query, column of labels, and modalities to map from.
    there
        Boolean ``(n_cells, n_sources)``: which sources a cell has.
    seen
        Boolean ``(n_cells,)``: which cells the model was trained on.
    coverage
        Probability with which a set holds the class of a cell.
    adapt
        Whether cells of known class correct the probabilities of the others.
    """
    classes = data.setup.features[label]
    best = np.full(data.n_cells, None, dtype=object)
    probability = np.full(data.n_cells, np.nan)
    sets = np.full(data.n_cells, None, dtype=object)
    calibrated = np.zeros(data.n_cells, dtype=bool)
    labelled = np.flatnonzero(_known(data, label, classes) & ~seen)
    too_few, without = [], []
    for subset, rows in _patterns(sources, there):
        probabilities = mapper.predict(subset, label, data, rows).to_numpy(dtype=float)
        complete = np.all([there[labelled, sources.index(name)] for name in subset], axis=0)
        known = labelled[complete]
        recalibrate = len(known) >= min_scores(coverage)
        given = mapper.predict(subset, label, data, known).to_numpy(dtype=float)
        if adapt and len(known) >= MIN_CELLS:
            values = _standard_scores(data, subset)
            numbers = data[label].values(known).argmax(axis=1)
            correction, given = select_correction(given, values[known], numbers)
            probabilities = correction(probabilities, values[rows])
            own = np.isin(rows, known)
            probabilities[own] = given[np.searchsorted(known, rows[own])]
        best[rows] = np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
        probability[rows] = probabilities.max(axis=1)
        if recalibrate:
            scores = (given * data[label].values(known)).sum(axis=1)
        else:
            scores = mapper._class_scores(subset, label).to_numpy()
            if len(known):
                too_few.append(f"{len(known)} with {' and '.join(map(repr, subset))}")
        smallest = threshold(scores, coverage)
        if np.isnan(smallest):
            without.append(f"{len(scores)} with {' and '.join(map(repr, subset))}")
            continue
        sets[rows] = set_names(probabilities, smallest, classes)
        exchangeable = recalibrate or not any(_differs(data.mdata, name) for name in subset)
        calibrated[rows] = exchangeable & ~seen[rows]
    needed = min_scores(coverage)
    if too_few:
        warnings.warn(
            f"Labels {label!r}: too few cells of the query have a class to recalibrate its sets, which takes {needed} "
            f"for coverage={coverage:g}: {', '.join(too_few)}. They are calibrated on cells of the training. Label more "
            "cells.",
            UserWarning,
            stacklevel=3,
        )
    if without:
        warnings.warn(
            f"Labels {label!r}: too few validation cells have a class to calibrate sets of classes, which takes {needed} "
            f"for coverage={coverage:g}: {', '.join(without)}. Sets are missing for these cells. Label as many cells of "
            f"the query in query.obs[{label!r}], or train an ensemble, or with a smaller train_size.",
            UserWarning,
            stacklevel=3,
        )
    return {
        label: pd.Categorical(best, classes),
        f"{label}_probability": probability,
        f"{label}_set": pd.Categorical(sets),
        f"{label}_calibrated": calibrated,
    }


def _standard_scores(data: AlignedData, sources: Sequence[str]) -> np.ndarray:
    """``(n_cells, n_features)`` values of narrow sources, standardised by the cells themselves, 0 where missing."""
    blocks = [np.zeros((data.n_cells, 0))]
    for name in sources:
        if data[name].n_features <= NARROW:
            values = data[name].values(np.arange(data.n_cells)).astype(np.float64)
            known = np.isfinite(values)
            number = np.maximum(known.sum(0), 1)
            centred = np.where(known, values - np.where(known, values, 0).sum(0) / number, 0.0)
            spread = np.sqrt((centred**2).sum(0) / number)
            blocks.append(np.clip(centred / np.where(spread > 0, spread, 1.0), -OUTLIER, OUTLIER))
    return np.concatenate(blocks, axis=1)


def _known(data: AlignedData, label: str, classes: Sequence[str]) -> np.ndarray:
    """Boolean ``(n_cells,)``: which cells have a class that the model knows."""
    if not data.has(label):
        return np.zeros(data.n_cells, dtype=bool)
    names = label_names(obs_column(data.mdata, label)).dropna()
    unknown = sorted(set(names) - set(classes))
    if unknown:
        warnings.warn(
            f"Labels {label!r}: {names.isin(unknown).sum()} cells of the query have classes that the model does not "
            f"know, and calibrate nothing: {shorten(unknown)}. It knows {shorten(classes)}.",
            UserWarning,
            stacklevel=4,
        )
    return data[label].present


def _differs(query: MuData, modality: str) -> bool:
    """Whether the report on a query says that values of a modality are shifted, were aligned, or lack features.

    An alignment makes distributions equal, whether or not cells are then like the training cells of their class.
    """
    report = query.uns.get(QUERY_REPORT, {}).get(modality, {})
    return bool(report.get("shifted") or report.get("aligned") or report.get("n_missing"))


def _p_values(mapper: Mapper, data: AlignedData, modality: str) -> np.ndarray:
    """``(n_cells,)`` p-values of novelty; NaN without reference cells."""
    if not all(modality in model.fitted.references for model in mapper.models):
        return np.full(data.n_cells, np.nan)
    return mapper.novelty(data, modality)["p_value"].to_numpy()
