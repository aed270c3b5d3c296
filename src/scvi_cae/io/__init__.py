"""Reading of tables and files of laboratories into :class:`~mudata.MuData` and :class:`~anndata.AnnData`."""

__all__: list[str] = []
