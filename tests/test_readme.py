"""The README's Python runs as it stands, from top to bottom, in one go; only what it downloads is simulated."""

from __future__ import annotations

import re
import warnings
from functools import partialmethod
from pathlib import Path

import numpy as np
import scvi

import scvi_cae

README = Path(__file__).parents[1] / "README.md"


def test_every_snippet_runs(monkeypatch, tmp_path):
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```python") > 2
    cells = scvi_cae.datasets.simulate_patchseq(n_cells=400)
    other = cells[250:].copy()
    other["ephys"].X = 1.1 * other["ephys"].X

    def reference(name):
        mdata = cells[:250].copy()
        scvi_cae.Ensemble.setup_mudata(mdata, labels_key="cell_type")
        model = scvi_cae.Ensemble(mdata, n_models=2)
        model.train()
        return model

    monkeypatch.setattr(scvi_cae.datasets, "scala2020", lambda: cells[:250].copy())
    monkeypatch.setattr(scvi_cae.datasets, "gouwens2020", lambda: other)
    monkeypatch.setattr(scvi_cae.datasets, "reference", reference)
    monkeypatch.setattr(scvi_cae.Ensemble, "train", partialmethod(scvi_cae.Ensemble.train, max_epochs=5))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scvi.settings, "seed", 0)
    names: dict = {}
    with warnings.catch_warnings():
        # A query that differs from the training cells is warned of, and the README aligns it.
        warnings.filterwarnings("ignore", message=".*(not distributed as|unlike those that).*")
        for block in blocks:
            exec(block, names)
    assert np.isfinite(names["mdata"].obsm["X_cae"]).all()
    assert names["ephys"].shape == (250, 24)
    assert set(names["intervals"].columns.get_level_values("quantile")) == {0.05, 0.95}
    assert names["types"]["cell_type_set"].notna().any()


def test_the_front_page_stays_short():
    text = README.read_text(encoding="utf-8")
    tables = re.findall(r"^\|.*\|$", text, flags=re.MULTILINE)
    assert max(line.count("|") - 1 for line in tables) <= 6
    assert len(text.split()) < 1100
