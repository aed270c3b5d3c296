"""From a MuData to aligned values and masks, and to the cells that train."""

from ._alignment import AlignedModality
from ._checks import check_modalities, check_mudata, check_not_view, check_paired, shorten
from ._fields import ModalityField, ObsField, obs_column, registry_key
from ._resident import ResidentData, StackedData
from ._splits import Split, check_split, draw_split, given_split, positions, presence_pattern, strata_order
from ._streamed import StreamedData, training_data

__all__ = [
    "AlignedModality",
    "ModalityField",
    "ObsField",
    "ResidentData",
    "Split",
    "StreamedData",
    "StackedData",
    "check_modalities",
    "check_mudata",
    "check_not_view",
    "check_paired",
    "check_split",
    "draw_split",
    "given_split",
    "obs_column",
    "positions",
    "presence_pattern",
    "registry_key",
    "shorten",
    "strata_order",
    "training_data",
]
