"""Preparing Patch-seq data, as Gala et al. (2021) do: choose genes, drop and scale electrophysiological features."""

from ._beta_score import beta_score
from ._drop_features import drop_features
from ._gene_length import normalize_gene_length
from ._robust_scale import robust_scale
from ._scale_blocks import scale_blocks

__all__ = ["beta_score", "drop_features", "normalize_gene_length", "robust_scale", "scale_blocks"]
