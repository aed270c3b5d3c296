"""From a MuData to aligned values and masks, and to the cells that train."""

from ._alignment import AlignedModality
from ._checks import check_modalities, check_mudata, check_paired, shorten
from ._fields import ModalityField, ObsField, obs_column
from ._resident import ResidentData
from ._splits import Split, check_split, draw_split, given_split, presence_pattern

__all__ = [
    "AlignedModality",
    "ModalityField",
    "ObsField",
    "ResidentData",
    "Split",
    "check_modalities",
    "check_mudata",
    "check_paired",
    "check_split",
    "draw_split",
    "given_split",
    "obs_column",
    "presence_pattern",
    "shorten",
]
