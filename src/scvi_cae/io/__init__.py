"""Reading of tables and files of laboratories into :class:`~mudata.MuData` and :class:`~anndata.AnnData`."""

from ._efel import read_efel
from ._ipfx import read_ipfx
from ._recordings import read_recordings
from ._tables import read_tables

__all__ = ["read_efel", "read_ipfx", "read_recordings", "read_tables"]
