"""Command line ``scvi-cae``: ``read`` from tables, ``recordings`` of current steps, ``fit``, ``embed``, ``predict`` and ``map`` on MuData files, and ``demo``."""

from ._app import app

__all__ = ["app"]
