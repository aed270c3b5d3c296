"""Descriptions of parameters that several methods of a model share."""

from __future__ import annotations

from scvi_cae._docstrings import insert_descriptions

describe = insert_descriptions(
    adata="MuData with the model's features, which may lack modalities; the model's own data by default.",
    indices="Positions of cells, or a mask of all; all by default.",
    batch_size="Largest number of cells computed at once, ``scvi.settings.batch_size`` by default; at most 4,096.",
    modality="Key of the modality, or column of labels.",
    dir_path="Folder that :meth:`save` wrote.",
    prefix="Prefix of file names.",
)
