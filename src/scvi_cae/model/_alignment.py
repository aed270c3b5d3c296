"""Alignment of a query: the distribution of its values brought to that of the training cells."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd
from mudata import MuData

from scvi_cae._arguments import shorten
from scvi_cae._mudata import annotations_apart
from scvi_cae.data import QUERY_REPORT, Transformation, check_finite_in_memory, check_mudata, modality_matrix

from ._distribution import MIN_CELLS, PROBABILITIES, moments_of, quantiles_of
from ._mixture_fit import most_probable
from ._recording import some_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._distribution import FeatureDistribution

logger = logging.getLogger("scvi_cae")

Method = Literal["moments", "ranks", "class_balanced"]
METHODS = ("moments", "ranks", "class_balanced")
#: Largest numbers of cells that determine the mixture, and whose classes are predicted.
MAX_CELLS, MAX_PREDICTED = 2000, 5000
#: Number of iterations; smallest proportion, and smallest number of cells, of a class that counts.
N_ITERATIONS, MIN_SHARE, MIN_CLASS = 12, 0.01, 5


class Aligner(Protocol):
    """What aligns a query: a model, or an ensemble."""

    @property
    def models(self) -> Sequence[Any]:
        """The model, or those of the ensemble."""

    def predict(self, source: str, target: str, adata: MuData) -> pd.DataFrame:
        """Class probabilities."""

    def _trained(self) -> Any:
        """What it was fitted to, or a RuntimeError before the training."""


class AlignmentMixin:
    """Queries of another laboratory, brought to the distribution of the training cells."""

    def align_query(
        self: Aligner,
        query: MuData,
        method: Method = "class_balanced",
        modality: str | None = None,
    ) -> MuData:
        r"""Bring the values of a query's features to the distribution that they have in the training cells.

        Another rig, temperature or protocol moves and stretches the distribution of a feature. If the query's cells are of
        the same kinds as the training cells, that can be undone without knowing which cell is which. It is an assumption,
        and therefore a step of its own after :meth:`prepare_query_mudata`.

        Parameters
        ----------
        query
            What :meth:`prepare_query_mudata` returned. It is not changed.
        method
            What is made equal, feature by feature:

            ``"class_balanced"``
                The distribution within classes, by a factor and a shift: those under which the query's values are most
                probable as a mixture of the classes of the training cells, in whatever proportions. Query and training
                cells may be of other composition, and the query may lack classes.
            ``"moments"``
                Mean and standard deviation over all cells: for cells that were sampled as the training cells were.
            ``"ranks"``
                The whole distribution over all cells, by ranks; likewise.
        modality
            The modality; by default the only one with at most 200 features that model and query share.

        Returns
        -------
        New MuData. Predictions of the aligned modality for it are in the query's units, as are
        :meth:`measured_values`. ``.uns["scvi_cae_query"]`` of the modality holds ``aligned``, the method;
        ``alignment``, a data frame with a row for each feature: ``factor`` and ``shift``, by which values were multiplied
        and then moved, and the ``before`` and ``after`` mean in standard deviations from that of the training cells; and
        ``shifted``, whether the aligned values still differ from the training cells. A query that does not differ from
        them is returned as it is, with ``aligned=""``: alignment would do harm if it is of few classes.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If the query was not prepared, is aligned already, has infinite values, or has fewer than 50 cells of the
            modality; if the modality is not narrow, or none or several are and none is named.

        Notes
        -----
        ``"class_balanced"`` starts from the factors :math:`a`, shifts :math:`b` and proportions :math:`\pi` that maximise

        .. math::

            \sum_i \log \sum_c \pi_c\, t_\nu(a \circ x_i + b;\, \mu_c, \Sigma_c) + n \sum_f \log a_f

        over the cells :math:`i` of the query, with multivariate t distributions (:math:`\nu = 30`) of the training cells of
        each class, whose covariances are shrunk towards those of all. Classes are those of the column of labels with the
        fewest; without labels, eight clusters of values. Covariances within classes, which another rig does not change much,
        tell apart what composition could explain as well. Then, twelve times, the model predicts the classes of the aligned
        cells, its probabilities are multiplied by the ratio of these proportions to the training's, and means and variances
        within classes are made equal, on average over classes weighted by the square roots of their numbers of cells. With
        a single class in the query, all rests on its covariance.

        Examples
        --------
        >>> import warnings
        >>> import scvi_cae
        >>> cells = scvi_cae.datasets.simulate_patchseq(n_cells=500)
        >>> mdata, other = cells[:300].copy(), cells[300:].copy()
        >>> scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="cell_type")
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> other["ephys"].X = 1.3 * other["ephys"].X + 2  # another rig
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")  # "... not distributed as the training cells ..."
        ...     query = scvi_cae.CoupledAE.prepare_query_mudata(other, model)
        >>> aligned = model.align_query(query)
        >>> aligned.uns["scvi_cae_query"]["ephys"]["alignment"].columns.tolist()
        ['factor', 'shift', 'before', 'after']
        """
        if method not in METHODS:
            raise ValueError(f"method={method!r} must be one of {', '.join(map(repr, METHODS))}.")
        self._trained()
        first = self.models[0]
        name = _modality(first, query, modality)
        distribution = first.fitted.distributions[name]
        layer = first.setup.layers.get(name)
        matrix = modality_matrix(query, name, layer)
        check_finite_in_memory(matrix, query[name], name, layer)
        values = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
        _check_number(values, name)
        if not query.uns[QUERY_REPORT][name]["shifted"]:
            logger.info(
                "Modality %r: the query is distributed as the training cells; it is left as it is.", name
            )
            return _with_values(query, name, layer, values, {"aligned": ""})
        if method == "class_balanced":
            rows = some_of(np.arange(len(values)), MAX_PREDICTED)
            with annotations_apart():
                few = MuData({name: query[name][rows].copy()})
            few.uns = {QUERY_REPORT: {name: dict(query.uns[QUERY_REPORT][name])}}

            def probabilities(aligned: np.ndarray) -> np.ndarray:
                like = _with_values(few, name, layer, aligned, {})
                return self.predict(name, distribution.label, like).to_numpy(dtype=float)

            found = _class_balanced(values[rows], distribution, probabilities)
        else:
            found = (_by_moments if method == "moments" else _by_ranks)(values, distribution)
        aligned = found(values)
        shift = distribution.shift(aligned)
        report: dict[str, Any] = {
            "aligned": method,
            "shifted": shift.found,
            "alignment": _table(values, aligned, found, distribution, first.setup.features[name]),
        }
        found.write(report)
        return _with_values(query, name, layer, aligned, report)


def _unchanged(values: np.ndarray, distribution: FeatureDistribution) -> Transformation:
    """The transformation that changes nothing."""
    knots = np.nan_to_num(distribution.quantiles[[0, -1]])
    knots[1] = np.where(knots[1] > knots[0], knots[1], knots[0] + 1)
    return Transformation(knots, knots)


def _known_only(found: Transformation, otherwise: Transformation) -> Transformation:
    """A linear transformation, and another one for features that query or training cells lack."""
    known = np.isfinite(found.before).all(0) & np.isfinite(found.after).all(0)
    ends = [0, -1]
    return Transformation(
        np.where(known, found.before[ends], otherwise.before[ends]),
        np.where(known, found.after[ends], otherwise.after[ends]),
    )


def _by_moments(values: np.ndarray, distribution: FeatureDistribution) -> Transformation:
    """Equal means and standard deviations."""
    mean, spread = moments_of(quantiles_of(values))
    new_mean, new_spread = moments_of(distribution.quantiles)
    # A feature that is constant, or that query or training cells lack, stays as it is.
    varies = (spread > 0) & (new_spread > 0)
    factor = np.divide(new_spread, spread, out=np.full(len(spread), np.nan), where=varies)
    return _known_only(
        Transformation.linear(mean, spread, new_mean, factor), _unchanged(values, distribution)
    )


def _class_balanced(
    values: np.ndarray,
    distribution: FeatureDistribution,
    probabilities: Callable[[np.ndarray], np.ndarray],
) -> Transformation:
    """Equal means and standard deviations within classes.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` values of the query.
    distribution
        Distribution of the training cells.
    probabilities
        Class probabilities of aligned values by the model.
    """
    start, proportions = _by_mixture(values, distribution)
    if not distribution.label:
        return start
    base = start(values)
    scores = distribution.scores(base)
    has, known = np.isfinite(scores).any(1), np.isfinite(scores)
    filled = np.nan_to_num(scores)
    varies = known.any(0) & (moments_of(quantiles_of(values))[1] > 0)
    shares = distribution.number.max(1) / distribution.number.max(1).sum()
    # A class that the query lacks would draw others' cells to itself.
    odds = np.where(proportions >= MIN_SHARE, proportions / shares, 0.0)
    mean, spread = (np.nan_to_num(moments) for moments in moments_of(distribution.quantiles))
    variance = np.diagonal(distribution.covariance, axis1=1, axis2=2)
    found = start
    for _ in range(N_ITERATIONS):
        p = np.nan_to_num(probabilities(found(values)))[:, distribution.classes] * odds * has[:, None]
        p /= np.maximum(p.sum(1, keepdims=True), 1e-12)
        number = np.maximum(p.T @ known, 1e-12)
        centre = p.T @ filled / number
        of_query = np.maximum(p.T @ filled**2 / number - centre**2, 0)
        weights = np.sqrt(np.where(p.sum(0) >= MIN_CLASS, p.sum(0), 0))
        if not weights.any():
            break
        weights /= weights.sum()
        own = weights @ of_query
        varies &= own > 0
        factor = np.sqrt(np.where(varies, weights @ variance, 1.0) / np.where(varies, own, 1.0))
        shift = np.where(varies, weights @ (distribution.mean - factor * centre), 0.0)
        found = Transformation(start.before, factor * (start.after - mean) + mean + shift * spread)
    return found


def _by_mixture(values: np.ndarray, distribution: FeatureDistribution) -> tuple[Transformation, np.ndarray]:
    """Factors and shifts that make the values most probable as a mixture of the training's groups, and its proportions."""
    start = _by_moments(values, distribution)
    scores = distribution.scores(start(values))
    scores = scores[some_of(np.flatnonzero(np.isfinite(scores).any(1)), MAX_CELLS)]
    there = np.flatnonzero(np.isfinite(scores).any(0) & (moments_of(quantiles_of(values))[1] > 0))
    factor, shift = np.ones(values.shape[1]), np.zeros(values.shape[1])
    factor[there], shift[there], proportions = most_probable(
        scores[:, there], distribution.mean[:, there], distribution.covariance[:, there][:, :, there]
    )
    mean, spread = (np.nan_to_num(moments) for moments in moments_of(distribution.quantiles))
    # The scores are of values with equal moments.
    return Transformation(start.before, factor * (start.after - mean) + mean + shift * spread), proportions


def _by_ranks(values: np.ndarray, distribution: FeatureDistribution) -> Transformation:
    """Equal quantiles."""
    own, unchanged = quantiles_of(values), _unchanged(values, distribution)
    varies = (moments_of(own)[1] > 0) & (moments_of(distribution.quantiles)[1] > 0)
    steps = PROBABILITIES[:, None]
    same = unchanged.before[0] + steps * (unchanged.before[1] - unchanged.before[0])
    return Transformation(np.where(varies, own, same), np.where(varies, distribution.quantiles, same))


def _table(
    values: np.ndarray,
    aligned: np.ndarray,
    found: Transformation,
    distribution: FeatureDistribution,
    features: Sequence[str],
) -> pd.DataFrame:
    """What was done to each feature."""
    mean, spread = moments_of(distribution.quantiles)
    centre, slopes = quantiles_of(values)[len(PROBABILITIES) // 2], found.slopes
    middle = np.where(np.isfinite(centre), centre, 0.0)
    scale = np.where(spread > 0, spread, np.nan)
    before, after = ((moments_of(quantiles_of(x))[0] - mean) / scale for x in (values, aligned))
    columns = {"factor": slopes, "shift": found(middle) - slopes * middle, "before": before, "after": after}
    return pd.DataFrame(columns, index=pd.Index(list(features), name="feature"))


def _modality(first: Any, query: MuData, modality: str | None) -> str:
    """The modality that is aligned, checked."""
    check_mudata(query)
    if QUERY_REPORT not in query.uns:
        raise ValueError(
            "The query was not prepared: query = CoupledAE.prepare_query_mudata(mdata, model); query = "
            "model.align_query(query)."
        )
    prepared = set(query.mod) & set(query.uns[QUERY_REPORT])
    usable = [name for name in first.fitted.distributions if name in prepared]
    if modality is None and len(usable) != 1:
        raise ValueError(
            f"The narrow modalities that model and query share are {shorten(usable)}. Name the one to align: modality=..."
            if usable
            else "Model and query share no narrow modality that was measured in at least 50 training cells: nothing can be "
            "aligned. For expression of genes, see normalize_query."
        )
    name = usable[0] if modality is None else modality
    if name not in usable:
        first.setup.check_arm(name)
        raise ValueError(
            f"modality={name!r} cannot be aligned: it is not in the query, has more than 200 features or fewer than 50 "
            f"training cells, or holds counts or expression of genes (see normalize_query). Modalities that can be: "
            f"{shorten(usable)}."
        )
    if query.uns[QUERY_REPORT][name].get("aligned"):
        raise ValueError(
            f"Modality {name!r} is aligned already. Align what prepare_query_mudata returned, with the other method."
        )
    return name


def _check_number(values: np.ndarray, modality: str) -> None:
    """Raise a ValueError for too few cells to know a distribution."""
    n_cells = int(np.isfinite(values).any(1).sum())
    if n_cells < MIN_CELLS:
        raise ValueError(
            f"Modality {modality!r}: the query has {n_cells} cells, and an alignment takes at least {MIN_CELLS}, since it "
            "would take what these few cells are for a property of the laboratory. Convert units, and features that are "
            "defined otherwise, by a table of names, names in the model, and factors, when the query is prepared: "
            f"rename={{{modality!r}: table}}."
        )


def _with_values(
    query: MuData, modality: str, layer: str | None, values: np.ndarray, report: dict[str, Any]
) -> MuData:
    """A copy of a query with other values, and further entries in the report."""
    modalities = {name: adata.copy() for name, adata in query.mod.items()}
    matrix = values.astype(np.float32 if np.abs(np.nan_to_num(values)).max(initial=0) < 2**20 else np.float64)
    if layer is None:
        modalities[modality].X = matrix
    else:
        modalities[modality].layers[layer] = matrix
    with annotations_apart():
        out = MuData(modalities, obs=pd.DataFrame(query.obs).copy())
    out.uns = copy.deepcopy(dict(query.uns))
    out.uns[QUERY_REPORT][modality] |= report
    return out
