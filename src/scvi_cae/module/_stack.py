"""Many modules of one shape as a single one, whose parameters have a leading dimension of members."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._module import CoupledModule


def stack(modules: Sequence[CoupledModule]) -> CoupledModule:
    """Stack modules that differ only in the values of parameters and buffers.

    The result computes with minibatches whose tensors have a leading dimension of members, each member as it would
    alone; losses have one entry for each member, and their sum has the gradients of all. For small networks, one call
    for all members takes a fraction of the time of a call for each.

    Parameters
    ----------
    modules
        Modules with the same modalities, features, arms and couplings.

    Returns
    -------
    A new module.
    """
    stacked = deepcopy(modules[0])
    for name, tensor in modules[0].state_dict(keep_vars=True).items():
        rows = torch.stack([module.state_dict()[name] for module in modules])
        parent, _, leaf = name.rpartition(".")
        owner = stacked.get_submodule(parent)
        setattr(owner, leaf, nn.Parameter(rows) if isinstance(tensor, nn.Parameter) else rows)
    return stacked


def member_state(state: dict[str, torch.Tensor], member: int) -> dict[str, torch.Tensor]:
    """State dictionary of one member of a stacked module.

    Parameters
    ----------
    state
        State dictionary of a stacked module.
    member
        Position of the member.
    """
    return {name: rows[member].clone() for name, rows in state.items()}
