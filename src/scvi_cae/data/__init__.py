"""From a MuData to aligned values and masks, and to the cells that train."""

from ._alignment import AlignedModality, modality_matrix
from ._checks import check_modalities, check_mudata, check_not_view, check_paired
from ._fields import ModalityField, ObsField, has_column, obs_column, registry_key
from ._labels import AlignedLabels, category_codes, category_names, indicators
from ._query import prepare_query
from ._resident import ResidentData, StackedData, tensor
from ._splits import Split, check_split, draw_split, given_split, positions, presence_pattern, strata_order
from ._streamed import StreamedData, training_data
from ._units import unlike_training, warn_unlike_training

__all__ = [
    "AlignedLabels",
    "AlignedModality",
    "ModalityField",
    "ObsField",
    "ResidentData",
    "Split",
    "StreamedData",
    "StackedData",
    "category_codes",
    "category_names",
    "check_modalities",
    "check_mudata",
    "check_not_view",
    "check_paired",
    "check_split",
    "draw_split",
    "given_split",
    "has_column",
    "indicators",
    "modality_matrix",
    "obs_column",
    "positions",
    "prepare_query",
    "presence_pattern",
    "registry_key",
    "strata_order",
    "tensor",
    "training_data",
    "unlike_training",
    "warn_unlike_training",
]
