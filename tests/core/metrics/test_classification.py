"""Macro F1 against its definition, written out."""

import numpy as np
import pytest

from alignhmr.core.metrics.classification import macro_f1


def slowly(told, true, counted) -> float:
    facts = []
    for fact in range(true.shape[1]):
        pairs = [(told[i, fact], true[i, fact]) for i in range(len(true)) if counted[i, fact]]
        categories = {int(t) for _, t in pairs}
        if len(categories) < 2:
            continue
        scores = []
        for category in categories:
            hit = sum(a == category and t == category for a, t in pairs)
            precision = hit / max(sum(a == category for a, _ in pairs), 1)
            recall = hit / sum(t == category for _, t in pairs)
            scores.append(0.0 if hit == 0 else 2 * precision * recall / (precision + recall))
        facts.append(sum(scores) / len(scores))
    return sum(facts) / len(facts)


def test_it_is_what_its_definition_says():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, (60, 7))
    told = np.where(rng.random(true.shape) < 0.5, true, rng.integers(-1, 4, true.shape))
    counted = rng.random(true.shape) < 0.8
    assert macro_f1(told, true, counted) == pytest.approx(slowly(told, true, counted))
    assert macro_f1(true, true, counted) == 1.0
    assert macro_f1(np.full_like(true, -1), true, counted) == 0.0


def test_what_is_not_counted_changes_nothing_and_nothing_left_is_no_number():
    rng = np.random.default_rng(1)
    true, counted = rng.integers(0, 3, (40, 3)), rng.random((40, 3)) < 0.5
    told = rng.integers(0, 3, true.shape)
    other = np.where(counted, told, 2)
    assert macro_f1(told, true, counted) == macro_f1(other, true, counted)
    assert np.isnan(macro_f1(told, true, np.zeros_like(counted)))
    assert np.isnan(macro_f1(told, np.zeros_like(true), counted)), "one category alone says nothing"
