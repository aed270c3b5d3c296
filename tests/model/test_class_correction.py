from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from scvi_cae.model._class_correction import PENALTIES, ClassCorrection, select_correction


def cells(n, seed=0):
    rng = np.random.default_rng(seed)
    classes = rng.integers(3, size=n)
    values = rng.normal(size=(n, 5))
    values[:, :3] += 2.5 * np.eye(3)[classes]
    return classes, values


def accuracy(probabilities, classes):
    return (probabilities.argmax(1) == classes).mean()


def test_a_reference_that_is_wrong_is_corrected():
    classes, values = cells(400)
    wrong = softmax(np.eye(3)[np.where(classes == 2, 1, classes)] * 2, axis=1)
    correction, out = select_correction(wrong[:60], values[:60], classes[:60])
    corrected = correction(wrong[60:], values[60:])
    np.testing.assert_allclose(corrected.sum(1), 1)
    assert accuracy(corrected, classes[60:]) > accuracy(wrong[60:], classes[60:]) + 0.15
    # What is said of cells that a fit has not seen holds for others.
    assert abs(accuracy(out, classes[:60]) - accuracy(corrected, classes[60:])) < 0.15


def test_a_reference_that_is_right_stays():
    classes, values = cells(400)
    right = softmax(6 * np.eye(3)[classes], axis=1)
    noise = np.random.default_rng(1).normal(size=values.shape)
    correction, _ = select_correction(right[:15], noise[:15], classes[:15])
    assert accuracy(correction(right[15:], noise[15:]), classes[15:]) == 1


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_class_without_cells_stays_possible(penalty):
    classes, values = cells(30)
    probabilities = np.full((30, 4), 0.25)
    corrected = ClassCorrection.fit(probabilities, values, classes, penalty)(probabilities, values)
    assert np.isfinite(corrected).all()
    assert (corrected > 0).all()
