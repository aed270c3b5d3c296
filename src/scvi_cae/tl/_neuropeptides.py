"""Neuropeptide genes, on which Gala et al. (2021) evaluate predicted gene expression."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The 18 genes of neuropeptide precursors that neurons of mouse cortex express, each with its receptors among
#: the 29 that they express: 37 pairs (Smith et al., "Single-cell transcriptomic evidence for dense
#: intracortical neuropeptide networks", eLife 2019, doi 10.7554/eLife.47889). Precursors are sorted by
#: decreasing expression.
NEUROPEPTIDE_PAIRS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Vip": ("Vipr1", "Vipr2"),
        "Npy": ("Npy1r", "Npy2r", "Npy5r"),
        "Sst": ("Sstr1", "Sstr2", "Sstr3", "Sstr4"),
        "Penk": ("Oprd1", "Oprm1"),
        "Tac2": ("Tacr3",),
        "Cck": ("Cckbr",),
        "Crh": ("Crhr1", "Crhr2"),
        "Tac1": ("Tacr1",),
        "Pdyn": ("Oprd1", "Oprk1", "Oprm1"),
        "Cort": ("Sstr1", "Sstr2", "Sstr3", "Sstr4"),
        "Pthlh": ("Pth1r",),
        "Pnoc": ("Oprl1",),
        "Adcyap1": ("Adcyap1r1", "Vipr1", "Vipr2"),
        "Trh": ("Trhr", "Trhr2"),
        "Grp": ("Grpr",),
        "Nmb": ("Nmbr",),
        "Nts": ("Ntsr1", "Ntsr2"),
        "Rln1": ("Rxfp1", "Rxfp2", "Rxfp3"),
    }
)

#: The 47 genes of :data:`NEUROPEPTIDE_PAIRS`: 18 precursors, then 29 receptors. Gala et al. (2021) predict
#: from electrophysiology the 36 of them that are among their 1,252 genes.
NEUROPEPTIDE_GENES: tuple[str, ...] = tuple(
    dict.fromkeys([*NEUROPEPTIDE_PAIRS, *(gene for genes in NEUROPEPTIDE_PAIRS.values() for gene in genes)])
)
