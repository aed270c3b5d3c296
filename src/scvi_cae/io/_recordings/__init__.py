"""From recordings of current steps to electrophysiological features: files, sweeps, steps, responses, cells."""

from ._read import read_recordings

__all__ = ["read_recordings"]
