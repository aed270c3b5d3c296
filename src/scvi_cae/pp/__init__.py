"""Preprocessing of Patch-seq data: selection and scaling of features, mostly as in Gala et al. (2021), and names."""

from ._beta_score import beta_score
from ._drop_features import drop_features
from ._ephys_names import ephys_concepts, ephys_names
from ._gene_length import normalize_gene_length
from ._predictive_features import predictive_features
from ._robust_scale import robust_scale
from ._scale_blocks import scale_blocks

__all__ = [
    "beta_score",
    "drop_features",
    "ephys_concepts",
    "ephys_names",
    "normalize_gene_length",
    "predictive_features",
    "robust_scale",
    "scale_blocks",
]
