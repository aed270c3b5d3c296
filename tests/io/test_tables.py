"""From tables to a MuData: the same from any layout, and from published files what their loader gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scvi_cae import CoupledAE, datasets
from scvi_cae._mudata import read_mudata, write_mudata
from scvi_cae.io import read_tables

WORDS = ["", "NA", "n/a", "None", "nan", "<NA>", "NULL"]
CELLS = [f"{i:03}_cell" for i in range(8)]
GENES = ["Gad1", "Sst", "Pvalb", "NA", "Vip"]


def tables():
    rng = np.random.default_rng(0)
    counts = pd.DataFrame(rng.poisson(3, (8, 5)), index=CELLS, columns=GENES)
    ephys = pd.DataFrame(rng.normal(size=(6, 3)).round(3), index=CELLS[2:], columns=["a (mV)", 'b, "x"', "n"])
    ephys["n"] = [1.0, 1.0, 2.0, 3.0, 3.0, 5.0]
    ephys.iloc[1, 1] = np.nan
    return counts, ephys


def written(path, frame, separator, word, transposed, order, compression=None, comma=False):
    frame = frame.iloc[list(order)]
    frame = frame.T if transposed else frame
    frame = frame.rename_axis(None) if transposed else frame.rename_axis("cell")
    frame.to_csv(
        path, sep=separator, na_rep=word, decimal="," if comma else ".", compression=compression, quoting=0
    )
    return path


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    separators=st.tuples(st.sampled_from(",;\t|"), st.sampled_from(",;\t|")),
    word=st.sampled_from(WORDS),
    transposed=st.tuples(st.booleans(), st.booleans()),
    order=st.tuples(st.permutations(range(8)), st.permutations(range(6))),
    packed=st.booleans(),
    data=st.data(),
)
def test_any_layout_gives_the_same(tmp_path, separators, word, transposed, order, packed, data):
    counts, ephys = tables()
    comma = separators[1] != "," and data.draw(st.booleans())
    mdata = read_tables(
        rna=written(
            tmp_path / "rna", counts, separators[0], word, transposed[0], order[0], "gzip" if packed else None
        ),
        ephys=written(
            tmp_path / "ephys.csv", ephys, separators[1], word, transposed[1], order[1], comma=comma
        ),
        verbose=False,
    )
    assert mdata["rna"].obs_names.tolist() == [CELLS[i] for i in order[0]]
    pd.testing.assert_frame_equal(mdata["rna"].to_df(layer="counts").loc[CELLS], counts, check_dtype=False)
    pd.testing.assert_frame_equal(mdata["ephys"].to_df().loc[CELLS[2:]], ephys.astype(np.float32))


def test_what_is_read_can_be_written_and_trained_on(tmp_path):
    counts, ephys = tables()
    obs = pd.DataFrame(
        {"Cell": CELLS, "depth/µm": np.arange(8.0), "type": list("aabbccdd"), "ok": [True] * 8}
    )
    mdata = read_tables(rna=counts, ephys=ephys, obs=obs, verbose=False)
    write_mudata(mdata, tmp_path / "x.h5mu")
    again = read_mudata(tmp_path / "x.h5mu")
    assert again.uns["read_tables"] == mdata.uns["read_tables"]
    pd.testing.assert_frame_equal(again.obs, mdata.obs, check_categorical=False)
    CoupledAE.setup_mudata(again)


def test_features_of_two_modalities_may_have_the_same_name():
    _, ephys = tables()
    obs = pd.DataFrame({"Cell": CELLS, "mouse": list("aabbccdd")})
    with pytest.warns(UserWarning, match="2 cells left out"):
        mdata = read_tables(ephys=ephys, morph=ephys, obs=obs, verbose=False)
    assert mdata["morph"].n_vars == 3


def test_arguments_name_tables():
    counts, _ = tables()
    with pytest.raises(
        ValueError, match=r"transcriptomes=\['rna_2'\] must be a list of the tables \['rna'\]"
    ):
        read_tables(rna=counts, transcriptomes=["rna_2"])
    with pytest.raises(ValueError, match="transposed='rna' must be a list"):
        read_tables(rna=counts, transposed="rna")


@pytest.fixture
def folder():
    if "SCVI_CAE_DATA" not in os.environ:
        pytest.skip("SCVI_CAE_DATA does not name the folder of real data")
    return Path(os.environ["SCVI_CAE_DATA"])


def test_scala2020_is_what_its_loader_gives(folder):
    start = str(folder / "scala2020" / "m1_patchseq_")
    found = read_tables(
        rna=start + "exon_counts.csv.gz",
        ephys=start + "ephys_features.csv",
        morph=start + "morph_features.csv",
        obs=start + "meta_data.csv",
        missing=["?", "Slice Lost"],
        drop_zero_genes=True,
        verbose=False,
    )
    expected = datasets.scala2020(folder / "scala2020")
    wrong = "20171207_sample_1"  # the loader leaves its morphology out, since it is another cell's
    morph = found["morph"][found["morph"].obs_names != wrong]
    for name, adata in {"rna": found["rna"], "ephys": found["ephys"], "morph": morph}.items():
        loaded = expected[name]
        assert list(adata.obs_names) == list(loaded.obs_names)
        assert list(adata.var_names) == list(loaded.var_names)
        dense = [x.toarray() if hasattr(x, "toarray") else np.asarray(x) for x in (adata.X, loaded.X)]
        np.testing.assert_array_equal(*dense)
        assert adata.X.dtype == loaded.X.dtype
        assert set(adata.layers) == set(loaded.layers)
        pd.testing.assert_frame_equal(adata.var, loaded.var)
    counts = [data["rna"].layers["counts"] for data in (found, expected)]
    assert (counts[0] != counts[1]).nnz == 0
    assert counts[0].dtype == counts[1].dtype
    assert list(found.obs_names) == list(expected.obs_names)
    for theirs, ours in {
        "RNA type": "rna_type",
        "Mouse age": "mouse_age",
        "Soma depth (µm)": "soma_depth_um",
    }.items():
        values, loaded_values = found.obs[theirs], expected.obs[ours]
        if isinstance(values.dtype, pd.CategoricalDtype):
            assert list(values.cat.categories) == list(loaded_values.cat.categories)
        np.testing.assert_array_equal(values.isna(), loaded_values.isna())
        assert (values.dropna().to_numpy() == loaded_values.dropna().to_numpy()).all()


def test_gouwens2020_joins_by_a_function(folder):
    ephys, obs = (
        folder / "gouwens2020" / x for x in ("efeature.csv", "20200711_patchseq_metadata_mouse.csv")
    )
    with pytest.raises(ValueError, match=r"ses-\d+_icephys.nwb'.*column 'ephys_session_id'") as error:
        read_tables(ephys=ephys, obs=obs)
    proposed = str(error.value).split("join='")[1].split("'")[0]
    assert read_tables(ephys=ephys, obs=obs, join=proposed, verbose=False).n_obs == 4435
    mdata = read_tables(
        ephys=ephys, obs=obs, join=lambda name: name.split("_ses-")[-1].split("_")[0], verbose=False
    )
    assert mdata["ephys"].shape == (4435, 47)
    assert mdata.obs["t_type"].notna().mean() > 0.9


def test_lee2023_has_its_names_in_different_columns(folder):
    start = str(folder / "lee2023" / "LeeDalley_")
    with pytest.warns(UserWarning, match="69 cells left out"):
        mdata = read_tables(
            ephys=start + "ephys_fx.csv",
            morph=start + "morpho_features.csv",
            obs=start + "manuscript_metadata_v2.csv",
            verbose=False,
        )
    assert (mdata["ephys"].shape, mdata["morph"].shape) == ((704, 93), (140, 51))
    assert mdata.obs["Donor"].notna().all()
