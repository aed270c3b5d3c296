"""One difference between the versions of mudata."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import mudata

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def annotations_apart() -> AbstractContextManager[Any]:
    """Context in which the columns of the modalities' annotations are not copied to the MuData.

    mudata 0.3 copies them whenever a MuData is made or updated, with a warning; 0.4 does not, and has no such option.
    """
    set_options: Any = getattr(mudata, "set_options", None)
    return set_options(pull_on_update=False) if set_options else nullcontext()
