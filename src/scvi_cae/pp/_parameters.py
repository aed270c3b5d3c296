"""Descriptions of parameters that the functions of this package share."""

from __future__ import annotations

from scvi_cae._docstrings import insert_descriptions

_SHARED = {
    "data": "AnnData, or MuData of which ``modality`` is used. Changed in place unless ``copy`` is true.",
    "modality": "Key of the modality; for a MuData only.",
    "cells": """
        Cells to fit on: positions among the modality's own cells (not those of the MuData), or a mask over
        them, such as ``mdata["ephys"].obs_names.isin(names_of_training_cells)``. All cells by default.
        """,
    "key_added": "Key of the results.",
    "copy": "Return a changed copy instead of working in place.",
}

#: For functions that read the matrix and leave it as it is.
describe_reader = insert_descriptions(layer="Layer to read; ``X`` by default.", **_SHARED)

#: For functions that replace the matrix.
describe_writer = insert_descriptions(
    layer="""
        Layer to read and replace; ``X`` by default. Floating-point values keep their precision; integers
        become float32, as in scanpy.
        """,
    **_SHARED,
)
