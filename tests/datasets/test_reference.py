"""References by name: trained once, kept apart by files and versions, and like those of any other process."""

from __future__ import annotations

import logging
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scvi
import torch

from scvi_cae.datasets import _reference, reference, simulate_patchseq
from scvi_cae.datasets._fetch import Registry, git_blob_id
from scvi_cae.datasets._reference_data import MIN_OF_TYPE, scala2020_to_refer_to, shared_ephys
from scvi_cae.model import Ensemble, _companions
from scvi_cae.pp import ephys_names

if TYPE_CHECKING:
    from mudata import MuData


class Toy:
    """Simulated data in place of the published ones, in a file ``a.csv``; ``calls`` counts how often they are loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.meanwhile = folder, 0, lambda: None
        folder.mkdir()
        (folder / "a.csv").write_bytes(b"hello\n")
        # Nothing listens there.
        self.registry = Registry("scala2020", "http://127.0.0.1:9/", {"a.csv": git_blob_id(folder / "a.csv")})

    def load(self, directory: str | Path | None) -> MuData:
        self.calls += 1
        self.meanwhile()
        mdata = simulate_patchseq(n_cells=120, n_genes=50, n_morph=0)
        mdata.obs = mdata.obs.rename(columns={"family": "rna_family", "cell_type": "rna_type"})
        return mdata


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    made = Toy(tmp_path / "published")
    source = _reference._Source(made.registry, made.load, "of this package")
    monkeypatch.setattr(_reference, "SOURCES", {"scala2020": source})
    # Quickly: few models, epochs and no regressions.
    monkeypatch.setattr(_reference, "N_MODELS", 2)
    monkeypatch.setattr(_reference, "MAX_EPOCHS", 2)
    monkeypatch.setattr(_companions, "make_regressions", lambda setup, source, target: {})
    monkeypatch.setenv("SCVI_CAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCVI_CAE_DATA", raising=False)
    return made


def families(ensemble: Ensemble) -> np.ndarray:
    return ensemble.predict("ephys", "rna_family").to_numpy()


def saved(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache" / "references"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_is_trained_once_and_loaded_with_its_data(toy: Toy, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "scvi_cae")
    first = reference("scala2020", directory=toy.folder)
    assert "training on 120 cells (of this package)" in caplog.text
    again = reference("scala2020", directory=toy.folder)
    assert toy.calls == 1
    assert len(saved(tmp_path)) == 1
    np.testing.assert_array_equal(families(first), families(again))
    assert again.adata.n_obs == 120
    assert again.adata["rna"].uns["normalization"]["kind"] == "log"


def test_other_files_and_versions_are_trained_anew(toy: Toy, tmp_path: Path, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO, "scvi_cae")
    reference("scala2020", directory=toy.folder)
    (first,) = saved(tmp_path)
    assert "not used" not in caplog.text
    (toy.folder / "a.csv").write_bytes(b"other\n")
    reference("scala2020", directory=toy.folder)
    assert toy.calls == 2
    assert f"{first!r} in {tmp_path}" in caplog.text
    monkeypatch.setattr(_reference, "version", lambda name: "9.0")
    reference("scala2020", directory=toy.folder)
    assert toy.calls == 3
    assert len(saved(tmp_path)) == 3
    assert first in saved(tmp_path)


def test_neither_depends_on_the_seed_nor_changes_it(toy: Toy, tmp_path: Path, monkeypatch) -> None:
    found = []
    for seed in (None, 5):
        monkeypatch.setattr(scvi.settings, "_seed", seed)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
        for _ in ("trained", "loaded"):
            ensemble = reference("scala2020", cache=tmp_path / str(seed), directory=toy.folder)
            assert torch.equal(torch.get_rng_state(), before[0])
            assert random.getstate() == before[1]
            assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002
        found.append(families(ensemble))
        assert scvi.settings.seed == seed
    assert toy.calls == 2
    np.testing.assert_array_equal(*found)


def test_needs_no_files_once_it_is_saved(toy: Toy, monkeypatch) -> None:
    reference("scala2020", directory=toy.folder)
    # The files are those that would be downloaded.
    reference("scala2020")
    assert toy.calls == 1


def test_without_data_and_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("SCVI_CAE_DATA", raising=False)
    monkeypatch.setenv("SCVI_CAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "scvi_cae.datasets._scala2020.REGISTRY", Registry("a", "http://127.0.0.1:9/", {"a": ""})
    )
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ConnectionError, match="SCVI_CAE_DATA"):
        reference("scala2020")
    assert saved(tmp_path) == []
    with pytest.raises(FileNotFoundError, match=r"m1_patchseq_.* in .*nowhere"):
        reference("scala2020", directory=tmp_path / "nowhere")


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="No reference 'scala'; there is 'scala2020'"):
        reference("scala")


def test_another_process_may_be_faster(toy: Toy, tmp_path: Path) -> None:
    ours = reference("scala2020", directory=toy.folder)
    (name,) = saved(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    toy.meanwhile = lambda: shutil.copytree(tmp_path / "cache" / "references" / name, elsewhere / name)
    theirs = reference("scala2020", cache=elsewhere, directory=toy.folder)
    assert toy.calls == 2
    assert [path.name for path in elsewhere.iterdir()] == [name]
    np.testing.assert_array_equal(families(ours), families(theirs))


def test_an_interrupted_training_leaves_nothing(toy: Toy, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    toy.meanwhile = interrupt
    with pytest.raises(KeyboardInterrupt):
        reference("scala2020", directory=toy.folder)
    assert saved(tmp_path) == []


def test_a_damaged_one_is_named(toy: Toy, tmp_path: Path) -> None:
    reference("scala2020", directory=toy.folder)
    (name,) = saved(tmp_path)
    folder = tmp_path / "cache" / "references" / name
    (folder / "ensemble.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="Delete this folder") as caught:
        reference("scala2020", directory=toy.folder)
    assert str(folder) in str(caught.value)
    shutil.rmtree(folder)
    reference("scala2020", directory=toy.folder)
    assert toy.calls == 2


@pytest.mark.parametrize("convention", ["gouwens2020", "ipfx", "lee2023", "efel"])
def test_every_convention_has_most_of_the_features(convention: str) -> None:
    wanted = shared_ephys("scala2020").index
    assert wanted.isin(ephys_names(convention, "scala2020")["scala2020"]).mean() > 0.6


@pytest.fixture
def real() -> None:
    folder = Path(os.environ.get("SCVI_CAE_DATA", "")) / "scala2020"
    if "SCVI_CAE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs the real data: set SCVI_CAE_DATA to the folder that holds scala2020/")


@pytest.mark.usefixtures("real")
def test_cells_and_features_of_real_data() -> None:
    full = scala2020_to_refer_to()
    assert "low quality" not in full.obs["rna_family"].cat.categories
    assert full.obs["rna_family"].notna().all()
    assert full.obs["rna_type"].value_counts().min() >= MIN_OF_TYPE
    assert full["ephys"].var.loc["AP width (ms)"].tolist() == ["ms", "ap_width"]
    assert full["ephys"].n_vars == 13
    assert len(full["rna"].uns["normalization"]["genes"]) > full["rna"].n_vars
