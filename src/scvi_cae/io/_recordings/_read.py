"""Reading of recordings: the function that users call."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import Progress

from scvi_cae._arguments import shorten
from scvi_cae.io._features import features_to_anndata

from ._abf import read_abf
from ._cells import cells_of, find_files
from ._measure import Cell, measure_files
from ._nwb import read_nwb
from ._sweep import needed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from anndata import AnnData

#: Readers by the ending of a file.
_READERS = {".abf": read_abf, ".nwb": read_nwb}
#: Columns of the table of sweeps, and what is there if a sweep has none.
_SWEEPS: dict[str, Any] = {
    "cell": "",
    "file": "",
    "electrode": "",
    "sweep": -1,
    "current_pA": float("nan"),
    "start_ms": float("nan"),
    "end_ms": float("nan"),
    "resting_mV": float("nan"),
    "n_spikes": 0,
    "steady_mV": float("nan"),
    "tau_ms": float("nan"),
    "asymptote_mV": float("nan"),
    "jump_mV": float("nan"),
    "used_for": "",
    "skipped": "",
}
_SPIKES = ["cell", "file", "electrode", "sweep", "time_ms", "peak_mV"]


def read_recordings(
    files: str | Path | Iterable[str | Path],
    *,
    cell: Callable[[Path], str] | str | Mapping[str, str] | pd.DataFrame | None = None,
    command: Any = None,
    n_jobs: int = 1,
    progress: bool = True,
) -> AnnData:
    """Measure electrophysiological features of recordings of current steps.

    Features are those of :func:`scvi_cae.pp.ephys_concepts`, whatever the laboratory's protocol, and go to those of a
    model by :func:`scvi_cae.pp.ephys_names`::

        ephys = read_recordings("recordings/")
        rename = {"ephys": ephys_names(ephys.var_names, "scala2020")}
        query = Ensemble.prepare_query_mudata(mudata.MuData({"ephys": ephys}), reference, rename=rename)

    It needs ``pip install "scvi-cae[ephys]"``: pyabf and pynwb read files, eFEL measures action potentials.

    Parameters
    ----------
    files
        Path of a recording, several of them, or a folder: ABF files of version 1 or 2, and NWB files of version 2.
        Reading NWB is experimental: it was tried on files that pynwb wrote, on no laboratory's own.
    cell
        Which cell a file is of, if cells have several files: a function of its path; a regular expression, found in the
        file's name, whose group in parentheses is the cell; ``{file: cell}``; or a data frame with columns ``file`` and
        ``cell``. By default each file is a cell, named as the file without its ending; each electrode, if a file has
        several.
    command
        Current of the sweeps, for files without a command, or with a wrong one, in place of their own:
        ``{"start": 100, "end": 600, "amplitudes": [-100, -50, 50]}``, a step in ms and pA with an amplitude for each
        sweep; or an array ``(n_sweeps, n_samples)`` in pA; or one of these for each file, by its name.
    n_jobs
        Number of processes, as in joblib; they share out cells.
    progress
        Whether to show a progress bar in a terminal.

    Returns
    -------
    AnnData of cells x 27 features, dense, in the units of the concepts, NaN where a feature cannot be had. ``.var`` is as
    in :func:`read_ipfx`. ``.obs`` has numbers of files, of steps, and of steps and sweeps skipped; whether the cell is
    ``spontaneous``, that is, fires without current, so that rheobase and latencies are missing; and ``rheobase_step``,
    the difference in pA to the largest current below rheobase. ``.uns["recordings"]`` has a row for each step,
    and for each sweep without: what was measured, the features that it was ``used_for``, or why it was ``skipped``;
    ``.uns["action_potentials"]`` a row for each action potential, with its time from the start of the sweep.

    Raises
    ------
    ImportError
        If a library is missing.
    FileNotFoundError
        If there is no such file, or a folder has no recordings.
    ValueError
        If no sweep of any file can be used; if a file has no cell; if a command does not fit its file.

    Warns
    -----
    UserWarning
        If files cannot be used; if cells have no usable sweep, which are left out; if a recorded current is not the
        command; if values are impossible, as in :func:`read_ipfx`.

    See Also
    --------
    scvi_cae.pp.ephys_concepts : Definitions of the features.

    Notes
    -----
    A step is a constant current of at least 200 ms, after at least 100 ms of the holding current (20 ms at the start of a
    sweep), to which it returns. Skipped are voltage clamp, files without sweeps (gap-free), ramps, pulses and noise, and
    steps whose resting potential is not within -110 to -30 mV or more than 15 mV from the cell's median, drifts by more
    than 10 mV in 100 ms or has a standard deviation above 2 mV, or that reach the amplifier's limit. The page "Features
    from recordings" of the documentation has rules and formulas.

    Examples
    --------
    >>> from scvi_cae.io import read_recordings
    >>> ephys = read_recordings("recordings/", cell="^(cell[0-9]+)_")  # doctest: +SKIP
    >>> ephys.to_df()[["input_resistance", "rheobase", "ap_width"]]  # doctest: +SKIP
    >>> ephys.uns["recordings"].query("skipped != ''")[["file", "sweep", "skipped"]]  # doctest: +SKIP
    """
    paths = find_files(files, tuple(_READERS))
    groups = cells_of(paths, cell)
    needed("efel")
    cells = list(_measured(groups, command, n_jobs, progress))
    notes = [note for one in cells for note in one.notes]
    sweeps = pd.DataFrame([{**_SWEEPS, "cell": one.name, **row} for one in cells for row in one.sweeps])
    usable = [one for one in cells if one.measured is not None]
    if not usable:
        reasons = sweeps.drop_duplicates("skipped")
        raise ValueError(
            "No sweep can be used. "
            + "; ".join(f"{row.file}: {row.skipped}" for row in reasons.head(5).itertuples())
        )
    without = [one.name for one in cells if one.measured is None]
    if without:
        first = sweeps.loc[sweeps["cell"] == without[0], "skipped"].iloc[0]
        notes.append(
            f"{len(without)} cells have no usable sweep and are left out: {shorten(without)} ({without[0]}: {first})"
        )
    if notes:
        more = f"; and {len(notes) - 5} more" if len(notes) > 5 else ""
        warnings.warn(f"read_recordings: {'; '.join(notes[:5])}{more}.", UserWarning, stacklevel=2)
    frame = pd.DataFrame({one.name: one.measured.features for one in usable if one.measured}).T
    adata = features_to_anndata(frame, "concepts", "read_recordings")
    adata.obs = _annotations(usable)
    adata.uns["recordings"] = sweeps[list(_SWEEPS)]
    spikes = [{"cell": one.name, **row} for one in usable for row in one.spikes]
    adata.uns["action_potentials"] = pd.DataFrame(spikes, columns=_SPIKES)
    return adata


def _measured(groups: Mapping[str, list[Path]], command: Any, n_jobs: int, progress: bool) -> Iterator[Cell]:
    """Cells in the order of their names, with a bar of how many are done."""
    console = Console(stderr=True)
    tasks = (delayed(measure_files)(name, paths, _READERS, command) for name, paths in groups.items())
    parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    with Progress(console=console, disable=not (progress and console.is_terminal)) as bar:
        for cells in bar.track(parallel(tasks), total=len(groups), description="Measuring cells"):
            yield from cells


def _annotations(cells: list[Cell]) -> pd.DataFrame:
    rows = {}
    for one in cells:
        table = pd.DataFrame([{**_SWEEPS, **row} for row in one.sweeps])
        skipped = table["skipped"] != ""
        rows[one.name] = {
            "n_files": table["file"].nunique(),
            "n_steps": int((~skipped).sum()),
            "n_skipped": int(skipped.sum()),
            "spontaneous": one.measured is not None and one.measured.spontaneous,
            "rheobase_step": float("nan") if one.measured is None else one.measured.rheobase_step,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
