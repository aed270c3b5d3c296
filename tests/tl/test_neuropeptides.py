"""The published list of neuropeptide genes."""

from __future__ import annotations

import pytest

from scvi_cae.tl import NEUROPEPTIDE_GENES, NEUROPEPTIDE_PAIRS


def test_numbers_are_the_published_ones():
    receptors = {gene for genes in NEUROPEPTIDE_PAIRS.values() for gene in genes}
    assert (len(NEUROPEPTIDE_PAIRS), len(receptors), sum(map(len, NEUROPEPTIDE_PAIRS.values()))) == (
        18,
        29,
        37,
    )
    assert len(NEUROPEPTIDE_GENES) == len(set(NEUROPEPTIDE_GENES)) == 47
    assert set(NEUROPEPTIDE_GENES) == {*NEUROPEPTIDE_PAIRS, *receptors}
    assert NEUROPEPTIDE_GENES[:3] == ("Vip", "Npy", "Sst")


def test_they_cannot_be_changed():
    with pytest.raises(TypeError):
        NEUROPEPTIDE_PAIRS["Oxt"] = ("Oxtr",)
