"""Scores of matching, tested against their published formulas written as loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_cae.evaluate import _matching, foscttm, top_k_accuracy


def naive_foscttm(a: np.ndarray, b: np.ndarray) -> float:
    n = len(a)
    fractions = []
    for one, other in ((a, b), (b, a)):
        for i in range(n):
            own = np.sqrt(((one[i] - other[i]) ** 2).sum())
            others = [np.sqrt(((one[i] - other[j]) ** 2).sum()) for j in range(n) if j != i]
            fractions.append(np.mean([1.0 if d < own else 0.5 if d == own else 0.0 for d in others]))
    return float(np.mean(fractions))


@given(st.integers(0, 10**6), st.integers(2, 15), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_foscttm_is_its_formula(seed, n, d):
    a, b = np.random.default_rng(seed).normal(size=(2, n, d))
    assert foscttm(a, b) == pytest.approx(naive_foscttm(a, b))


@given(st.integers(0, 10**6), st.integers(2, 15))
@settings(deadline=None, max_examples=30)
def test_foscttm_with_ties_is_its_formula(seed, n):
    a, b = np.random.default_rng(seed).integers(0, 3, size=(2, n, 2)).astype(float)
    assert foscttm(a, b) == pytest.approx(naive_foscttm(a, b))


def test_foscttm_does_not_depend_on_chunks(monkeypatch):
    a, b = np.random.default_rng(0).normal(size=(2, 23, 3))
    expected = foscttm(a, b)
    monkeypatch.setattr(_matching, "_CHUNK", 5)
    assert foscttm(a, b) == expected


def test_foscttm_of_perfect_worst_and_random_matches():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 4))
    assert foscttm(z, z) == 0
    assert foscttm(z, rng.normal(size=z.shape)) == pytest.approx(0.5, abs=0.03)
    # two cells swapped: each is closer to the other than to itself
    assert foscttm([[0.0], [1.0]], [[1.0], [0.0]]) == 1


@pytest.mark.parametrize("n", [2, 7, 30])
def test_latents_that_are_all_the_same_match_by_chance(n):
    same = np.ones((n, 3))
    assert foscttm(same, same) == 0.5
    assert foscttm(same, np.random.default_rng(0).normal(size=(n, 3))) == pytest.approx(0.5)
    assert top_k_accuracy(same, same, 1) == pytest.approx(1 / n)


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        ([[1.0]], [[1.0]], "at least 2"),
        ([[1.0], [2.0]], [[1.0, 2.0], [1.0, 2.0]], "same cells"),
        ([[1.0], [np.nan]], [[1.0], [2.0]], "not finite"),
    ],
)
def test_foscttm_names_what_is_wrong(a, b, match):
    with pytest.raises(ValueError, match=match):
        foscttm(a, b)


@given(st.integers(0, 10**6), st.integers(2, 15), st.integers(1, 20), st.booleans())
@settings(deadline=None, max_examples=60)
def test_top_k_is_its_formula(seed, n, k, ties):
    a, b = np.random.default_rng(seed).normal(size=(2, n, 2)) * 2
    if ties:
        a, b = a.round(), b.round()
    found = 0.0
    for i in range(n):
        distance = np.sqrt(((a[i] - b) ** 2).sum(1))
        closer = np.sum(distance < distance[i] - 1e-12)
        ties = np.sum(np.abs(distance - distance[i]) <= 1e-12)
        found += min(max((k - closer) / ties, 0), 1)
    assert top_k_accuracy(a, b, k) == pytest.approx(found / n)


def test_top_k_has_a_direction():
    # both sources are nearest to the second target; each target finds its own source
    a, b = [[0.0], [1.0]], [[-5.0], [0.6]]
    assert top_k_accuracy(a, b, 1) == 0.5
    assert top_k_accuracy(b, a, 1) == 1
    assert top_k_accuracy(a, b, 2) == 1


def test_top_k_does_not_depend_on_chunks(monkeypatch):
    a, b = np.random.default_rng(0).normal(size=(2, 23, 3))
    expected = top_k_accuracy(a, b, 3)
    monkeypatch.setattr(_matching, "_CHUNK", 5)
    assert top_k_accuracy(a, b, 3) == expected


def test_top_k_names_what_is_wrong():
    with pytest.raises(ValueError, match="k=0"):
        top_k_accuracy([[0.0], [1.0]], [[0.0], [1.0]], 0)
    with pytest.raises(ValueError, match="same cells"):
        top_k_accuracy([[0.0], [1.0]], [[0.0]])
