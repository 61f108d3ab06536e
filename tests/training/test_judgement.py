import json

import numpy as np
import pytest
import torch

from alignhmr.core.checkpoints import load_checkpoint
from alignhmr.training.data import read_labels, split
from alignhmr.training.judgement import Change, judge
from alignhmr.training.judgement import _verdict as verdict


@pytest.fixture
def scene(bench):
    scorer, _ = load_checkpoint(bench.scorer, "scorer")
    _, held_out = split(read_labels(bench.folder, bench.body, bench.digest), 0.3)
    return scorer, held_out.people


def figures(**changes: tuple[float, float]) -> dict[str, Change]:
    told = {
        "reward_zero_noise": (0.0, 1.0), "reward_selected": (1.0, 2.0),
        "error_2d_zero_noise_pct_of_crop": (5.0, 5.0), "mpjpe_zero_noise_mm": (100.0, 99.0),
        "mpjpe_selected_mm": (90.0, 89.0),
    } | changes  # fmt: skip
    return {name: Change(before, after, 0.1) for name, (before, after) in told.items()}


def test_the_same_model_changes_nothing_and_is_not_kept(bench, scene):
    scorer, photos = scene
    told = judge(bench.model(), bench.model(), scorer, bench.body, bench.people, photos, hypotheses=4)
    assert all(change.difference == 0 for change in (told.made_people | told.photos).values())
    assert not told.verdict.kept and str(told.verdict).startswith("kept: no, ")
    assert told.people == {"made": len(bench.people.betas), "photos": len(photos)}
    json.dumps(told.to_dict(), allow_nan=False)


def test_figures_are_ordered_and_a_changed_model_changes_them(bench, scene):
    scorer, photos = scene
    other = bench.model()
    with torch.no_grad():
        other.regressor[1].bias.add_(0.05)
    told = judge(bench.model(), other, scorer, bench.body, bench.people, photos, hypotheses=4)
    for name in ("mpjpe", "pa_mpjpe"):
        best, selected = told.made_people[f"{name}_best_of_m_mm"], told.made_people[f"{name}_selected_mm"]
        assert (
            best.before <= selected.before and best.before <= told.made_people[f"{name}_zero_noise_mm"].before
        )
    assert told.photos["reward_selected"].before >= told.photos["reward_zero_noise"].before
    assert all(change.difference != 0 for name, change in told.made_people.items() if "mpjpe" in name)
    assert all(np.isfinite(change.ci95) for change in told.photos.values())


def test_without_photos_nothing_is_kept(bench, scene):
    scorer, _ = scene
    told = judge(bench.model(), bench.model(), scorer, bench.body, bench.people, None, hypotheses=3)
    assert not told.verdict.kept and "no photo was held out" in str(told.verdict)


@pytest.mark.parametrize(
    ("changes", "kept", "words"),
    [
        ({}, True, "rose by 1.000, beyond chance; the error on made people changed by -1.0 %"),
        (
            {"reward_zero_noise": (0.0, 0.05), "reward_selected": (1.0, 1.05)},
            False,
            "within its 95 % interval",
        ),
        ({"reward_zero_noise": (0.0, -2.5)}, False, "reward on held-out photos fell"),
        ({"error_2d_zero_noise_pct_of_crop": (5.0, 5.2)}, False, "2D error"),
        ({"mpjpe_selected_mm": (90.0, 93.0)}, False, "made people with a truth rose by 3.3 %"),
        ({"reward_selected": (1.0, float("nan"))}, False, "not finite"),
    ],
)
def test_verdict(changes, kept, words):
    told = verdict(figures(**changes), figures(**changes))
    assert told.kept is kept and words in str(told)
