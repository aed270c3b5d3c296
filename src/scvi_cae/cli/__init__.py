"""The command ``scvi-cae``: fit, embed and predict from files, and a demonstration."""

from ._app import app

__all__ = ["app"]
