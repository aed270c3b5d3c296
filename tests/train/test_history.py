from __future__ import annotations

from conftest import fit
from scvi_cae.train import HistoryLogger


def test_metrics_are_kept_by_epoch():
    logger = HistoryLogger()
    logger.log_metrics({"loss": 3.0, "epoch": 0}, step=6)
    logger.log_metrics({"loss": 2.0, "other": 1.0, "epoch": 1}, step=12)
    history = logger.history
    assert history["loss"]["loss"].tolist() == [3.0, 2.0]
    assert history["other"].index.tolist() == [1]
    assert history["loss"].index.name == "epoch"


def test_any_term_can_be_monitored(mdata):
    options = {"early_stopping": True, "early_stopping_patience": 1, "early_stopping_min_delta": 1e3}
    model = fit(mdata, max_epochs=20, early_stopping_monitor="ephys_from_rna_validation", **options)
    assert len(model.history["train_loss"]) == 2
