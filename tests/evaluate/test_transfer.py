"""Label transfer between latent spaces."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_cae.evaluate import label_accuracy, transfer_labels


def clusters(n=40, spread=0.3, d=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(["a", "b", "c"], n)
    centres = dict(zip("abc", 3 * np.eye(3, d), strict=True))
    return np.array([centres[label] for label in labels]) + spread * rng.normal(size=(3 * n, d)), labels


def test_separate_clusters_are_classified():
    z, labels = clusters()
    query, true = clusters(seed=1)
    assert label_accuracy(true, transfer_labels(z, labels, query)) == 1


def test_cells_without_label_or_latent_are_left_out():
    z, labels = clusters()
    labels = labels.astype(object)
    z[0], labels[1] = np.nan, None
    given = transfer_labels(z, pd.Series(pd.Categorical(labels)), z[2:])
    assert (given == labels[2:]).all()


def test_without_any_class_all_labels_are_missing():
    z, labels = clusters(n=2)
    given = transfer_labels(z, np.full(len(z), None), z)
    assert pd.isna(given).all()
    assert label_accuracy(labels, given) == 0
    assert len(transfer_labels(z, labels, z[:0])) == 0


def test_accuracy_is_of_cells_with_a_label():
    assert label_accuracy(["a", None, "b"], np.array(["a", "a", "a"], dtype=object)) == 0.5
    assert np.isnan(label_accuracy([None], np.array(["a"], dtype=object)))


def test_it_names_what_is_wrong():
    z, labels = clusters(n=2)
    with pytest.raises(ValueError, match="one label for each"):
        transfer_labels(z, labels[1:], z)
