"""From the files of a cell to its features, and the rows of the tables of what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._cell import Measured, measure_cell
from ._command import command_of
from ._response import Response, respond
from ._steps import Step, find_steps
from ._sweep import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ._command import Command
    from ._sweep import Sweep

    Reader = Callable[[Path, Command | None], list[Sweep]]

#: Largest difference of the resting potential of a sweep from the cell's median, in mV.
STABLE = 15.0
#: Largest difference of the recorded current from the command, as a fraction, and in pA.
_CURRENT, _CURRENT_PA = 0.1, 5.0


class Cell(NamedTuple):
    """A cell, measured.

    Parameters
    ----------
    name
        Its name.
    measured
        Its features; ``None`` if no sweep can be used.
    sweeps
        A row for each step, and for each sweep without.
    spikes
        A row for each action potential.
    notes
        What a user should know of.
    """

    name: str
    measured: Measured | None
    sweeps: list[dict[str, Any]]
    spikes: list[dict[str, Any]]
    notes: list[str]


def measure_files(
    name: str, files: Sequence[Path], readers: Mapping[str, Reader], command: Any
) -> list[Cell]:
    """Measure the cell of some files; a cell for each electrode, if a file has several.

    Parameters
    ----------
    name
        Name of the cell.
    files
        Its files.
    readers
        Readers by the ending of a file.
    command
        As of :func:`~scvi_cae.io.read_recordings`.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: []}
    notes: list[str] = []
    for file in files:
        try:
            sweeps = readers[file.suffix.lower()](file, command_of(command, file))
        except Unreadable as error:
            rows[name].append({"file": file.name, "skipped": str(error)})
            notes.append(f"{file.name}: {error}")
            continue
        by_electrode: dict[str, list[Sweep]] = {}
        for sweep in sweeps:
            by_electrode.setdefault(sweep.electrode, []).append(sweep)
        found = {electrode: find_steps(of_one) for electrode, of_one in by_electrode.items()}
        usable = [one for one, steps in found.items() if any(isinstance(of_one, list) for of_one in steps)]
        for electrode, steps in found.items():
            own = electrode if electrode in usable else usable[0] if usable else ""
            cell = f"{name}_{own}" if len(usable) > 1 else name
            new = [
                _row(file, sweep, step)
                for sweep, of_one in zip(by_electrode[electrode], steps, strict=True)
                for step in ([of_one] if isinstance(of_one, str) else of_one)
            ]
            rows.setdefault(cell, []).extend(new)
            notes += _recorded_otherwise(file, new)
    cells = [_of_rows(cell, of_one) for cell, of_one in rows.items() if of_one]
    return [cells[0]._replace(notes=notes), *cells[1:]]


def _row(file: Path, sweep: Sweep, step: Step | str) -> dict[str, Any]:
    response = respond(step) if isinstance(step, Step) else step
    row: dict[str, Any] = {"file": file.name, "electrode": sweep.electrode, "sweep": sweep.number}
    if isinstance(step, Step):
        start, end = (1000 * sample / sweep.rate for sample in (step.start, step.end))
        row |= {"current_pA": step.current, "start_ms": start, "end_ms": end, "step": step}
    return row | ({"skipped": response} if isinstance(response, str) else {"response": response})


def _recorded_otherwise(file: Path, rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is to be said of a file whose recorded current is not the command."""
    for row in rows:
        step = row.get("step")
        if step is None or not step.current or step.sweep.recorded is None:
            continue
        recorded = step.sweep.recorded
        before = recorded[step.start - (step.end - step.start) // 10 : step.start]
        current = float(recorded[step.start : step.end].mean() - before.mean())
        if abs(current - step.current) > max(_CURRENT * abs(step.current), _CURRENT_PA):
            return [
                f"{file.name}: the recorded current of sweep {step.sweep.number} is {current:.4g} pA, the command "
                f"{step.current:.4g} pA, which is used; if the scale of the command is wrong, give command=..."
            ]
    return []


def _of_rows(name: str, rows: list[dict[str, Any]]) -> Cell:
    """Measure a cell, of whose sweeps those far from its resting potential are left out."""
    kept = [row for row in rows if "response" in row]
    resting = [row["response"].resting for row in kept if not row["response"].before]
    typical = float(np.median(resting)) if resting else np.nan
    for row in kept:
        response: Response = row["response"]
        row |= {"resting_mV": response.resting, "n_spikes": len(response.spikes)}
        row |= {"steady_mV": response.steady, "tau_ms": response.tau}
        row |= {"asymptote_mV": response.asymptote, "jump_mV": response.jump}
        if abs(response.resting - typical) > STABLE:
            row["skipped"] = (
                f"resting potential {response.resting:.1f} mV, more than {STABLE:g} mV from the cell's median "
                f"{typical:.1f}"
            )
    kept = [row for row in kept if "skipped" not in row]
    measured = measure_cell([row["response"] for row in kept]) if kept else None
    for row, used in zip(kept, measured.used if measured else [], strict=True):
        row["used_for"] = ", ".join(used)
    spikes = [
        {"file": row["file"], "electrode": row["electrode"], "sweep": row["sweep"]}
        | {"time_ms": row["start_ms"] + time, "peak_mV": peak}
        for row in kept
        for time, peak in zip(
            row["response"].times, row["response"].voltage[row["response"].spikes], strict=True
        )
    ]
    return Cell(
        name,
        measured,
        [{k: v for k, v in row.items() if k not in ("step", "response")} for row in rows],
        spikes,
        [],
    )
