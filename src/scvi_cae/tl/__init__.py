"""Analyses of latents and predictions: cell types that modalities share, taxonomies, reports, outliers."""

from ._agreement import agreement
from ._concat_latents import concat_latents
from ._consensus import consensus_types
from ._consistent import consistent_types
from ._contingency import ContingencyScores, contingency, contingency_scores, match_labels
from ._neuropeptides import NEUROPEPTIDE_GENES, NEUROPEPTIDE_PAIRS
from ._outliers import outliers
from ._pca_cca import PCACCA, pca_cca
from ._reports import prediction_report, type_means, type_report
from ._resolution import classify_by_resolution
from ._silhouette import silhouettes
from ._taxonomy import Taxonomy

__all__ = [
    "NEUROPEPTIDE_GENES",
    "NEUROPEPTIDE_PAIRS",
    "PCACCA",
    "ContingencyScores",
    "Taxonomy",
    "agreement",
    "classify_by_resolution",
    "concat_latents",
    "consensus_types",
    "consistent_types",
    "contingency",
    "contingency_scores",
    "match_labels",
    "outliers",
    "pca_cca",
    "prediction_report",
    "silhouettes",
    "type_means",
    "type_report",
]
