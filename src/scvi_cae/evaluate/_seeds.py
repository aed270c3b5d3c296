"""The seed of scvi-tools, for a while."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from scvi import settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def seed_set(seed: int) -> Iterator[None]:
    """Set scvi-tools' seed for a while."""
    before = settings.seed
    settings.seed = seed
    try:
        yield
    finally:
        settings.seed = before
