from __future__ import annotations

import mudata
import pandas as pd
import pytest

from conftest import make_mdata
from scvi_cae import CoupledAE
from scvi_cae.data._names import near_misses

NAMES = pd.Index([f"Cell_{i}" for i in range(60150, 60160)])


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        (" " + NAMES + " ", "blanks"),
        (NAMES.str.upper(), "case"),
        (NAMES + ".0", "decimals"),
        (NAMES.str.lower() + ".0 ", "blanks, case and decimals"),
        (NAMES + "-1", "the suffix '-1'"),
        (NAMES + "_rna", "the suffix '_rna'"),
    ],
)
def test_the_rule_that_joins_names_is_found_and_its_code_works(changed, rule):
    (found,) = near_misses({"rna": NAMES, "ephys": changed})
    assert found.rule.words == rule
    assert len(found.pairs) == len(NAMES)
    joined = {
        name: eval(f"names{found.rule.code}", {"names": names})
        for name, names in (("a", NAMES), ("b", changed))
    }
    assert set(joined["a"]) == set(joined["b"])


def test_names_that_differ_otherwise_are_different():
    assert near_misses({"rna": NAMES, "ephys": NAMES[:5]}) == []
    assert near_misses({"rna": NAMES, "ephys": pd.Index(["a", "b"]), "morph": NAMES}) == []
    assert near_misses({"rna": pd.Index(["m1_1", "m1_2"]), "ephys": pd.Index(["m1"])}) == []


def test_setup_warns_of_pairs_that_are_lost():
    mdata = make_mdata(60)
    ephys = mdata["ephys"].copy()
    ephys.obs_names = [f"{x}.0" if i < 20 else x for i, x in enumerate(ephys.obs_names)]
    lost = mudata.MuData({"rna": mdata["rna"], "ephys": ephys})
    with pytest.warns(
        UserWarning, match=r"would be pairs but for decimals in their names: 'cell\d+' and 'cell\d+.0'"
    ):
        CoupledAE.setup_mudata(lost)
    ephys.obs_names = ephys.obs_names.str.upper()
    with pytest.raises(ValueError, match="would be pairs but for"):
        CoupledAE.setup_mudata(mudata.MuData({"rna": mdata["rna"], "ephys": ephys}))


def test_a_transposed_modality_is_recognised():
    mdata = make_mdata(60)
    turned = mudata.MuData({"rna": mdata["rna"].T.copy(), "ephys": mdata["ephys"].copy()})
    with pytest.raises(ValueError, match="'rna' are named like the cells of 'ephys': is it transposed"):
        CoupledAE.setup_mudata(turned)
