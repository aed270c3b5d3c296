from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest

from conftest import make_mdata
from scvi_cae import CoupledAE
from scvi_cae.data import ModalityField, ObsField, obs_column


def test_a_modality_registers_its_features():
    mdata = make_mdata()
    field = ModalityField("ephys", None)
    state = field.register_field(mdata)
    assert state == {"column_names": [f"ephys_{i}" for i in range(8)]}
    assert field.get_summary_stats(state) == {"n_features_modality_ephys": 8}
    assert field.get_data_registry() == {"mod_key": "ephys", "attr_name": "X", "attr_key": None}


def test_features_are_matched_by_name_on_transfer():
    mdata = make_mdata()
    field = ModalityField("rna", None)
    state = field.register_field(mdata)
    reordered = mudata.MuData({"rna": mdata["rna"][:, ::-1].copy()})
    assert field.transfer_field(state, reordered) == state
    assert field.transfer_field(state, mudata.MuData({"ephys": mdata["ephys"]})) == state
    with pytest.raises(ValueError, match="lacks 1 features"):
        field.transfer_field(state, mudata.MuData({"rna": mdata["rna"][:, 1:].copy()}))


def test_the_user_s_data_are_not_touched():
    mdata = make_mdata(missing={"ephys": 0.1})
    before = {name: adata.copy() for name, adata in mdata.mod.items()}
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    for name, adata in mdata.mod.items():
        np.testing.assert_array_equal(adata.X, before[name].X)
        assert list(adata.obs) == list(before[name].obs)
    assert set(mdata.uns) == {"_scvi_uuid", "_scvi_manager_uuid"}
    assert "kind" in mdata.obs
    assert not [key for key in mdata.obs if key.startswith("_scvi")]


def test_a_modality_named_batch_and_a_batch():
    mdata = make_mdata(60, {"batch": 5, "labels": 6})
    CoupledAE.setup_mudata(mdata, batch_key="kind", labels_key="kind")
    model = CoupledAE(mdata, n_latent=2)
    assert model.modalities == ["batch", "labels"]
    assert model.setup.arms == ("batch", "labels", "kind")


def test_view_of_the_set_up(capsys, mdata):
    CoupledAE(mdata, n_latent=2).view_anndata_setup()
    out = capsys.readouterr().out
    assert "modality_rna" in out
    assert "modality_ephys" in out


def test_annotation_of_the_mudata_comes_first():
    mdata = make_mdata()
    mdata["rna"].obs["kind"] = "z"
    assert set(obs_column(mdata, "kind")) == {"a", "b"}


def test_annotation_is_gathered_from_modalities():
    mdata = make_mdata(90)
    truth = pd.Series(np.arange(mdata.n_obs).astype(str), index=mdata.obs_names)
    for adata in mdata.mod.values():
        adata.obs["number"] = pd.Categorical(truth[adata.obs_names])
    assert (obs_column(mdata, "number") == truth).all()
    del mdata["ephys"].obs["number"]
    assert (obs_column(mdata, "number").isna() == ~mdata.obs_names.isin(mdata["rna"].obs_names)).all()


def test_annotations_may_be_missing_from_some_cells_and_from_a_query():
    mdata = make_mdata()
    mdata.obs["type"] = pd.Series(["x", "y"] * 30, index=mdata.obs_names[:60])
    field = ObsField("labels", "type")
    state = field.register_field(mdata)
    assert state == {"categories": ["x", "y"]}
    assert field.get_summary_stats(state) == {"n_labels": 2}
    assert field.transfer_field(state, make_mdata()) == state
