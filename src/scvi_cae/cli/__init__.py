"""Command line ``scvi-cae``: ``read`` from tables, ``fit``, ``embed``, ``predict``, ``novelty`` and ``map`` on MuData files, and ``demo``."""

from ._app import app

__all__ = ["app"]
