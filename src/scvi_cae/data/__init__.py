"""From a MuData to aligned values and masks, and the cells of each set."""

from ._aligned import Aligned
from ._checks import check_modalities, check_mudata, check_not_view
from ._columns import has_column, obs_column
from ._fields import ModalityField, ObsField, PairsField, annotation_key
from ._labels import AlignedLabels, category_codes, category_names, indicators, label_names
from ._latents import ALL_MEMBERS, check_latent_key, write_latents
from ._matrix import AlignedMatrix, has_values, modality_matrix
from ._names import RULES, fold, near_misses, suffix_rule
from ._normalization import find_normalization
from ._query import prepare_query
from ._resident import ResidentData, StackedData, tensor
from ._scale import Reference, check_scale, normalize_expression
from ._setup import AlignedData, Setup
from ._splits import (
    SETS,
    Split,
    check_split,
    draw_split,
    given_split,
    held_out,
    positions,
    presence_pattern,
    strata_order,
)
from ._streamed import StreamedData, training_data
from ._transformation import QUERY_REPORT, Transformation
from ._units import unlike_training, warn_unlike_training
from ._value_checks import check_finite_in_memory

__all__ = [
    "ALL_MEMBERS",
    "QUERY_REPORT",
    "RULES",
    "SETS",
    "Aligned",
    "AlignedData",
    "AlignedLabels",
    "AlignedMatrix",
    "ModalityField",
    "ObsField",
    "PairsField",
    "Reference",
    "ResidentData",
    "Setup",
    "Split",
    "StreamedData",
    "StackedData",
    "Transformation",
    "annotation_key",
    "category_codes",
    "category_names",
    "check_latent_key",
    "check_finite_in_memory",
    "check_modalities",
    "check_mudata",
    "check_not_view",
    "check_scale",
    "check_split",
    "draw_split",
    "find_normalization",
    "fold",
    "given_split",
    "held_out",
    "has_column",
    "has_values",
    "indicators",
    "label_names",
    "modality_matrix",
    "near_misses",
    "normalize_expression",
    "obs_column",
    "positions",
    "prepare_query",
    "presence_pattern",
    "strata_order",
    "suffix_rule",
    "tensor",
    "training_data",
    "unlike_training",
    "warn_unlike_training",
    "write_latents",
]
