from __future__ import annotations

import re
import shutil

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE, Ensemble, splits
from scvi_cae.evaluate import (
    METRICS,
    KernelRidgeBaseline,
    WithTypeMean,
    _cross_validate,
    _fold_scores,
    cross_validate,
    score,
)

TRAIN = {"max_epochs": 3}


@pytest.fixture(scope="module")
def mdata():
    out = make_mdata()
    CoupledAE.setup_mudata(out)
    return out


def test_scores_are_those_of_each_fold_and_seed(mdata):
    folds = splits.k_fold(mdata, 3)
    table = cross_validate(mdata, folds, [0, 1], {"n_latent": 2}, TRAIN, labels_key="kind", progress=False)
    scvi.settings.seed = 1
    model = CoupledAE(mdata, n_latent=2)
    model.train(external_indexing=folds[2], **TRAIN, **QUIET)
    expected = score(model, folds[2].test, "kind", metrics=METRICS)
    found = table.query("fold == 2 and seed == 1 and method == 'CoupledAE'").reset_index(drop=True)
    ours = expected[expected["method"] == "CoupledAE"].reset_index(drop=True)
    # a small change of a latent may change its neighbours
    same = ~found["metric"].str.contains("knn|top|foscttm").to_numpy()
    np.testing.assert_allclose(found["value"][same], ours["value"][same], rtol=1e-2, atol=1e-3)
    assert found["metric"].tolist() == ours["metric"].tolist()
    ridge = table.query("fold == 2 and method == 'ridge'")
    assert set(ridge["seed"]) == {0}
    np.testing.assert_allclose(
        np.sort(ridge["value"]), np.sort(expected[expected["method"] == "ridge"]["value"]), rtol=1e-5
    )


def test_a_later_call_resumes_an_interrupted_one(mdata, tmp_path, monkeypatch):
    folds, train = splits.k_fold(mdata, 3), {**TRAIN, "n_together": 1}
    fit_many, trained = _fold_scores.fit_many, []

    def interrupted(mdata, block, *args, **kwargs):
        trained.append(len(block))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return fit_many(mdata, block, *args, **kwargs)

    monkeypatch.setattr(_fold_scores, "fit_many", interrupted)
    call = {"model_kwargs": {"n_latent": 2}, "train_kwargs": train, "directory": tmp_path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        cross_validate(mdata, folds, **call)
    trained.append(0)
    table = cross_validate(mdata, folds, **call)
    assert trained == [1, 1, 1, 0, 1]
    pd.testing.assert_frame_equal(
        table, cross_validate(mdata, folds, **{**call, "directory": None}), check_exact=True
    )
    n_trained = len(trained)
    pd.testing.assert_frame_equal(cross_validate(mdata, folds, **call), table, check_exact=True)
    assert len(trained) == n_trained
    with pytest.raises(ValueError, match="Different: the seeds"):
        cross_validate(mdata, folds, [5], **call)
    with pytest.raises(ValueError, match=r"Different: model_kwargs\['n_latent'\] \(2 then, 3 now\)"):
        cross_validate(mdata, folds, **{**call, "model_kwargs": {"n_latent": 3}})


def test_splits_need_test_cells(mdata):
    with pytest.raises(ValueError, match="Split 0 has no test cells"):
        cross_validate(mdata, [(np.arange(50), np.arange(50, 60))])


def test_number_of_folds(mdata):
    table = cross_validate(mdata, 2, model_kwargs={"n_latent": 2}, train_kwargs=TRAIN, progress=False)
    assert table["fold"].unique().tolist() == [0, 1]


def test_splits_must_hold_their_test_cells_out(mdata):
    with pytest.raises(ValueError, match="Split 1 tests cells that it trains on or validates with"):
        cross_validate(
            mdata, [(np.arange(50), None, [60]), (np.arange(50), np.arange(50, 61), np.arange(60, 70))]
        )


def test_ensembles_beside_single_models(mdata):
    call = {"model_kwargs": {"n_latent": 2}, "train_kwargs": {**TRAIN, "monitor": None}, "progress": False}
    fold = splits.k_fold(mdata, 3, validation_size=0.2)[0]
    table = cross_validate(mdata, [fold], [0, 3], n_models=2, metrics=["r2"], **call)
    seeds = table.groupby("method", sort=False)["seed"].unique().map(list).to_dict()
    assert seeds == {"CoupledAE": [0, 3], "ridge": [0], "Ensemble": [0, 3]}
    ensemble = Ensemble(mdata, 2, n_latent=2)
    scvi.settings.seed = 3
    ensemble.train(external_indexing=[np.union1d(fold.train, fold.validation), None, fold.test], **TRAIN)
    expected = score(ensemble, fold.test, baselines=False, metrics=["r2"])["value"]
    ours = table.query("method == 'Ensemble' and seed == 3")["value"]
    np.testing.assert_allclose(ours, expected, rtol=1e-4)


def test_baselines_alone(mdata):
    table = cross_validate(
        mdata,
        3,
        [4],
        {"n_latent": 2},
        {**TRAIN, "max_epochs": 10**9},
        baselines=["ridge", "cca", "pca"],
        models=False,
        n_models=5,
        progress=False,
    )
    assert table["method"].unique().tolist() == ["ridge", "cca", "pca"]
    assert set(table["seed"]) == {4}
    assert table["fold"].unique().tolist() == [0, 1, 2]


def test_kept_folds_are_read_as_they_were_written(mdata, tmp_path):
    mdata = mdata.copy()
    mdata["ephys"].var_names = ["NA", *mdata["ephys"].var_names[1:]]
    CoupledAE.setup_mudata(mdata)
    call = {"model_kwargs": {"n_latent": 2}, "train_kwargs": TRAIN, "directory": tmp_path, "progress": False}
    call |= {"per_feature": True, "labels_key": "kind", "baselines": [WithTypeMean(KernelRidgeBaseline())]}
    first = cross_validate(mdata, 2, **call)
    assert "NA" in set(first["feature"])
    pd.testing.assert_frame_equal(cross_validate(mdata, 2, **call), first, check_exact=True)
    other = [WithTypeMean(KernelRidgeBaseline(gamma=1.0))]
    with pytest.raises(
        ValueError, match=r"Different: baseline 'WithTypeMean' \(.*'gamma': 0.1.*'gamma': 1.0"
    ):
        cross_validate(mdata, 2, **{**call, "baselines": other})
    with pytest.raises(ValueError, match=r"Different: metrics \(.*\); n_models \(1 then, 2 now\)"):
        cross_validate(mdata, 2, **call, metrics=["r2"], n_models=2)


@pytest.fixture
def kept(tmp_path):
    """Data, and a call whose two folds are in a folder."""
    mdata = make_mdata()
    mdata["rna"].layers["doubled"] = 2 * mdata["rna"].X
    CoupledAE.setup_mudata(mdata)
    call = {"model_kwargs": {"n_latent": 2}, "labels_key": "kind", "directory": tmp_path, "progress": False}
    call |= {"metrics": ["r2"], "models": False}
    return mdata, call, cross_validate(mdata, 2, **call)


def other_value(mdata):
    mdata["ephys"].X[3, 2] += 1


def other_label(mdata):
    mdata.obs["kind"] = np.roll(mdata.obs["kind"].to_numpy(), 1)


def other_feature(mdata):
    mdata["ephys"].var_names = ["other", *mdata["ephys"].var_names[1:]]
    CoupledAE.setup_mudata(mdata)


def other_layer(mdata):
    CoupledAE.setup_mudata(mdata, layers={"rna": "doubled"})


def other_likelihood(mdata):
    CoupledAE.setup_mudata(mdata, likelihoods={"ephys": "gaussian"})


def labels_as_a_modality(mdata):
    CoupledAE.setup_mudata(mdata, labels_key="kind")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (other_value, "the values of 'ephys'"),
        (other_label, "the labels of kind"),
        (other_feature, "the features of 'ephys'"),
        (other_layer, "the layers of the set-up"),
        (other_likelihood, "the likelihoods of the set-up"),
        (labels_as_a_modality, "the labels of the set-up"),
    ],
)
def test_folds_of_other_data_or_another_set_up_are_refused(kept, change, what):
    mdata, call, _ = kept
    change(mdata)
    with pytest.raises(ValueError, match=f"holds the folds of another call. Different: .*{what}"):
        cross_validate(mdata, 2, **call)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"splits": 3}, "fold 0"),
        ({"train_kwargs": {"batch_size": 50}}, "train_kwargs['batch_size'] (not there then, 50 now)"),
        ({"labels_key": None}, "labels_key ('kind' then, None now)"),
        ({"per_feature": True}, "per_feature"),
        ({"baselines": {"ridge": make_pipeline(StandardScaler(), Ridge(2.0))}}, "baseline 'ridge'"),
        ({"baselines": ["type mean", "ridge"]}, "the names of baselines"),
    ],
)
def test_folds_of_other_arguments_are_refused(kept, other, what):
    mdata, call, _ = kept
    with pytest.raises(ValueError, match=f"Different: .*{re.escape(what)}"):
        cross_validate(mdata, **{"splits": 2, **call, **other})


def test_arguments_in_another_order_are_the_same(kept, tmp_path):
    mdata, call, _ = kept
    call |= {"directory": tmp_path / "ordered"}
    orders = [{"n_latent": 2, "latent_axes": "agreement"}, {"latent_axes": "agreement", "n_latent": 2}]
    first, second = (cross_validate(mdata, 2, **{**call, "model_kwargs": order}) for order in orders)
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_folds_of_other_versions_are_refused(kept, monkeypatch):
    mdata, call, _ = kept
    monkeypatch.setattr(_cross_validate, "version", lambda name: "0.0")
    with pytest.raises(ValueError, match=r"Different: the version of scikit-learn \(.* then, 0.0 now\)"):
        cross_validate(mdata, 2, **call)


def flip(content: bytes) -> bytes:
    """The same length, with one digit of a score changed."""
    at = content.index(b"0.", content.index(b'"value"')) + 3
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda x: b"",
        lambda x: x[: len(x) // 2],
        flip,
        lambda x: b"\xff\x00" * 40,
        lambda x: b"[]",
        lambda x: b"{}",
    ],
    ids=["empty", "truncated", "flipped", "garbage", "list", "dict"],
)
def test_a_damaged_fold_is_computed_anew(kept, tmp_path, damage):
    mdata, call, expected = kept
    path = tmp_path / "fold1.json"
    written = path.read_bytes()
    path.write_bytes(damage(written))
    with pytest.warns(UserWarning, match="fold1.json is damaged; the fold is computed anew") as said:
        found = cross_validate(mdata, 2, **call)
    assert sum("is damaged" in str(warning.message) for warning in said) == 1
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert path.read_bytes() == written


def test_a_fold_under_another_number_is_damaged(kept, tmp_path):
    mdata, call, expected = kept
    shutil.copy(tmp_path / "fold0.json", tmp_path / "fold1.json")
    with pytest.warns(UserWarning, match="fold1.json is damaged"):
        pd.testing.assert_frame_equal(cross_validate(mdata, 2, **call), expected, check_exact=True)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{"])
def test_without_a_description_folds_are_not_read(kept, tmp_path, content):
    mdata, call, _ = kept
    path = tmp_path / "settings.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="settings.json is damaged.*Delete"):
        cross_validate(mdata, 2, **call)
    path.unlink()
    with pytest.raises(ValueError, match="holds files of folds, but no settings.json"):
        cross_validate(mdata, 2, **call)


def test_features_that_are_not_scored_are_named_once(tmp_path):
    mdata = make_mdata(fraction={"rna": 1.0, "ephys": 1.0})
    x = mdata["ephys"].X
    fold = splits.k_fold(mdata, 3, seed=1)
    inside = mdata["ephys"].obs_names.isin(mdata.obs_names[fold[2].test])
    x[~inside, 5] = 2.0
    CoupledAE.setup_mudata(mdata)
    call = {"model_kwargs": {"n_latent": 2}, "train_kwargs": TRAIN, "progress": False, "directory": tmp_path}
    for _ in range(2):  # computed, and read
        with pytest.warns(UserWarning, match=r"'ephys_5' of 'ephys' in fold 2\. ") as said:
            table = cross_validate(mdata, fold, [0, 1], **call)
        assert sum("ephys_5" in str(warning.message) for warning in said) == 1
        r2 = table.query("metric == 'r2' and method == 'ridge' and source == 'rna'")["value"]
        assert (r2 > 0.5).all()


def test_mistakes_are_named_before_training(mdata, monkeypatch):
    monkeypatch.setattr(_fold_scores, "fit_many", None)
    with pytest.raises(KeyError, match="nope"):
        cross_validate(mdata, 2, labels_key="nope")
    with pytest.raises(ValueError, match="no baseline 'nope'"):
        cross_validate(mdata, 2, baselines=["nope"])
    with pytest.raises(ValueError, match="metrics="):
        cross_validate(mdata, 2, metrics=["nope"])
    with pytest.raises(ValueError, match="n_models=0"):
        cross_validate(mdata, 2, n_models=0)


@pytest.fixture
def labelled():
    out = make_mdata()
    CoupledAE.setup_mudata(out, labels_key="kind")
    return out, splits.k_fold(out, 3)


def test_processes_share_folds(labelled, tmp_path):
    """Scores are those of one process, labels and settings included; finished folds are kept."""
    mdata, folds = labelled
    call = {"seeds": [0, 1], "n_models": 2, "train_kwargs": TRAIN, "labels_key": "kind", "progress": False}
    alone = cross_validate(mdata, folds, **call)
    shared = cross_validate(mdata, folds, **call, n_jobs=2, directory=tmp_path)
    pd.testing.assert_frame_equal(shared, alone)
    assert "rna + kind" in set(shared["source"])
    assert len(list(tmp_path.glob("fold*.json"))) == len(folds)


def test_processes_cannot_share_a_file(labelled, tmp_path):
    mdata, folds = labelled
    mdata["rna"].write_h5ad(tmp_path / "rna.h5ad")
    backed = mudata.MuData(
        {"rna": anndata.read_h5ad(tmp_path / "rna.h5ad", backed="r"), "ephys": mdata["ephys"]}
    )
    with pytest.raises(ValueError, match="'rna' is backed by a file.*n_jobs=1"):
        cross_validate(backed, folds, n_jobs=2)
