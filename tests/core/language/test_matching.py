"""Poses against words: what was read counts by how rare it is, and the space speaks where nothing was read."""

import numpy as np
import pytest

from alignhmr.core.language.facts import BY_NAME, INDEX
from alignhmr.core.language.lexicon import HELD_OUT, WORDINGS
from alignhmr.core.language.matching import SPACE, matched, shares_of, told_evidence
from alignhmr.core.language.posecodes import Posecodes, posecodes, said
from alignhmr.core.language.reading import read
from alignhmr.core.language.writing import STYLES, whole, write


@pytest.fixture(scope="module")
def codes(random_joints) -> Posecodes:
    return posecodes(random_joints(400, 3))


def test_who_is_told_comes_first(codes) -> None:
    common = shares_of(codes)
    for index in range(20):
        told = said(codes[index].categories())
        assert told_evidence(told, codes, common)[index] >= np.quantile(
            told_evidence(told, codes, common), 0.95
        )


def test_a_rare_category_weighs_more(codes) -> None:
    """Of two facts that are sure in a pose."""
    common = shares_of(codes)
    fact, name = INDEX["left_elbow"], "left_elbow"
    names = BY_NAME[name].scale.names
    rare, often = (int(choose(common[fact, : len(names)])) for choose in (np.argmin, np.argmax))
    found = []
    for category in (rare, often):
        pose = int(codes.probabilities[:, fact, category].argmax())
        found.append(told_evidence({name: names[category]}, codes, common)[pose])
    assert found[0] > found[1]


def test_nothing_told_is_no_evidence(codes) -> None:
    common = shares_of(codes)
    assert (told_evidence({}, codes, common) == 0).all()
    cosines = np.linspace(-1, 1, len(codes.codes))
    assert matched(told_evidence({}, codes, common), cosines) == pytest.approx(SPACE * cosines)


def test_the_evidence_is_finite_where_a_pose_denies_what_is_told(codes) -> None:
    told = {name: fact.scale.names[0] for name, fact in BY_NAME.items()}
    assert np.isfinite(told_evidence(told, codes, shares_of(codes))).all()


def test_an_unknown_fact_is_refused(codes) -> None:
    with pytest.raises(KeyError):
        told_evidence({"left_wing": "up"}, codes, shares_of(codes))


def test_held_out_wordings_are_a_stranger_s_to_a_reader_without_them(codes) -> None:
    """What they say is partly understood by the patterns, and what is written in trained wordings wholly."""
    rng, trained = np.random.default_rng(0), WORDINGS - HELD_OUT
    right = meant = 0
    for index in range(30):
        told = said(codes[index].categories())
        assert read(whole(write(told, STYLES["sentences"], rng)), wordings=trained).codes == told
        unseen = whole(write(told, STYLES["unseen_sentences"], rng))
        assert read(unseen).codes == told
        reading = read(unseen, wordings=trained)
        right += sum(reading.codes.get(name) == category for name, category in told.items())
        meant += len(told)
        assert reading.unread
    assert 0.15 < right / meant < 0.8
