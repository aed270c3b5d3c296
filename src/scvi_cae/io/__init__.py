"""Reading of tables and files of laboratories into :class:`~mudata.MuData` and :class:`~anndata.AnnData`."""

from ._tables import read_tables

__all__ = ["read_tables"]
