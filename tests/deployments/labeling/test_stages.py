"""The stages called as they are, without Ray: seeds, and who is to blame in a batch."""

import random
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from alignhmr.deployments.labeling.guard import Guard
from alignhmr.deployments.labeling.people import FindPeople
from alignhmr.deployments.labeling.reading import READ_SCHEMA
from alignhmr.deployments.labeling.recovering import Recover, Score, person_seed
from alignhmr.deployments.labeling.schema import rows_from_table, table_from_rows


class HereLedger:
    """A ledger in this process: nobody else is there to share it with."""

    def __getattr__(self, name):
        return self

    def remote(self, *_):
        return None


@pytest.fixture
def answer(fake_models, monkeypatch):
    """Rows of the given pictures, taken through all stages in one batch."""
    # What a ledger of Ray's would answer: everything is begun for the first time.
    monkeypatch.setattr(Guard, "run", lambda self, items, keys, work, failed: work(items))
    ledger: Any = HereLedger()

    def run(*paths, seed=0):
        files = [(str(path), path.read_bytes()) for path in paths]
        read = [{"uri": uri, "image_sha256": sha256(data).hexdigest(), "data": data} for uri, data in files]
        people = FindPeople(fake_models, ledger, max_pixels=10**6)(table_from_rows(read, READ_SCHEMA))
        person = {"hypotheses": 5, "seed": seed, "limit_s": None}
        recovered = Recover(fake_models, ledger, **person)(people)
        return rows_from_table(Score(fake_models, ledger, **person)(recovered))

    return run


def test_another_seed_gives_other_hypotheses_of_the_same_people(answer, picture, tmp_path):
    path = picture(tmp_path / "a.png", 40)
    for first, second, again in zip(answer(path), answer(path, seed=1), answer(path), strict=True):
        np.testing.assert_array_equal(first["keypoints_px"], second["keypoints_px"])
        assert first["seed"] != second["seed"] and not np.array_equal(first["scores"], second["scores"])
        np.testing.assert_array_equal(first["scores"], again["scores"])


def test_vetoes_are_told_and_nobody_vetoed_wins(answer, picture, tmp_path):
    rows = [row for seed in range(6) for row in answer(picture(tmp_path / "a.png", 60), seed=seed)]
    assert all(row["vetoes"] == [None] * 4 + ["joint_limits"] for row in rows)
    pairs = [pair for row in rows for pair in row["pairs"] or ()]
    assert pairs and all(pair["winner"] != 4 for pair in pairs)
    assert all((row["pairs"] is None) == (row["abstained"] is not None) for row in rows)


def test_one_person_who_cannot_be_recovered_costs_the_others_nothing(answer, picture, tmp_path):
    good = picture(tmp_path / "good.png", 60)
    bad = [picture(tmp_path / f"{order}.png", order) for order in (250, 245)]
    together = answer(good, *bad)
    assert [row["error_code"] for row in together] == [None] * 3 + ["recovery_failed"] * 2
    assert "RuntimeError: the recovery chokes" in together[3]["error_message"]
    assert "scores that aren't finite" in together[4]["error_message"]
    for row, alone in zip(together, answer(good), strict=False):
        np.testing.assert_array_equal(row["pose_aa"], alone["pose_aa"])


def test_a_batch_without_people_passes(answer, picture, tmp_path):
    (row,) = answer(picture(tmp_path / "nobody.png", 0))
    assert row["error_code"] == "no_person" and row["scores"] is None


def test_seeds_differ_by_run_picture_and_person_and_fit_into_a_column():
    shas = [f"{random.Random(n).getrandbits(256):064x}" for n in range(40)]
    seeds = {person_seed(run, sha, index) for run in range(3) for sha in shas for index in range(5)}
    assert len(seeds) == 3 * 40 * 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_for_ever():
    assert person_seed(0, "ab" * 32, 1) == 3873451149270256970
