"""Command line ``scvi-cae``: tables and recordings become MuData and features, models are fitted and asked, and ``demo``."""

from ._app import app

__all__ = ["app"]
