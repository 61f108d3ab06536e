"""Posecodes to English and back: exact for what we write, mirrored for a mirrored pose, fair for others' words."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignhmr.core.body.skeleton import JOINT_MIRROR
from alignhmr.core.language.facts import PARTS
from alignhmr.core.language.posecodes import posecodes, said
from alignhmr.core.language.reading import read, read_parts
from alignhmr.core.language.writing import (
    BRIEF,
    STYLES,
    TRAINED,
    UNSEEN,
    brief,
    caption_from_joints,
    omitted,
    whole,
    write,
)


def round_trips(joints: np.ndarray, seed: int) -> None:
    codes = posecodes(joints)
    rng = np.random.default_rng(seed)
    names = list(STYLES)
    for index in range(len(joints)):
        told = said(codes[index].categories())
        if index % 2:
            told = omitted(told, rng.uniform(0.05, 1), rng)
        style = STYLES[names[index % len(names)]]
        sentences = write(told, style, rng)
        for reading in (read(whole(sentences)), read_parts(sentences)):
            assert reading.codes == told, sentences
            assert reading.unread == () and reading.contradictions == ()


def test_what_is_written_is_read_back(random_joints):
    round_trips(random_joints(210, 10), 0)


@pytest.mark.slow
def test_what_is_written_is_read_back_of_many_poses(random_joints):
    """Of ten thousand in ``tests/benchmarks/language.py``."""
    round_trips(random_joints(1500, 11), 1)


@pytest.mark.parametrize("style", [name for name, style in STYLES.items() if not style.both])
def test_a_mirrored_pose_has_mirrored_text(style, random_joints):
    original = random_joints(40, 12)
    one, other = posecodes(original), posecodes(original[:, list(JOINT_MIRROR)] * [-1, 1, 1])
    for index in range(len(original)):
        here = write(said(one[index].categories()), STYLES[style], np.random.default_rng(index))
        there = write(said(other[index].categories()), STYLES[style], np.random.default_rng(index))
        assert here == {swap(part): swap(text) for part, text in there.items()}


@pytest.mark.parametrize("style", [name for name, style in STYLES.items() if style.both])
def test_text_that_joins_both_sides_is_mirrored_in_what_it_says(style, random_joints):
    original = random_joints(30, 13)
    one, other = posecodes(original), posecodes(original[:, list(JOINT_MIRROR)] * [-1, 1, 1])
    for index in range(len(original)):
        here = whole(write(said(one[index].categories()), STYLES[style], np.random.default_rng(index)))
        there = whole(write(said(other[index].categories()), STYLES[style], np.random.default_rng(index)))
        assert read(here).codes == read(swap(there)).codes


def swap(text: str) -> str:
    other = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    # What is right for other reasons than its side.
    kept = r"right angle|right down|right up(?!p)|right next|leftward|rightward"
    turned = {"leftward": "rightward", "rightward": "leftward"}
    return re.sub(
        rf"{kept}|(?<![a-z])(left|right|Left|Right)(?![a-z])",
        lambda match: turned.get(match[0]) or other.get(match[0], match[0]),
        text,
    )


def test_both_sides_are_told_once_where_they_agree():
    told = {
        "left_elbow": "straight",
        "right_elbow": "straight",
        "left_knee": "half_bent",
        "right_knee": "straight",
    }
    text = whole(write(told, STYLES["listed"]))
    assert text.lower().count("both elbows are straight") == text.lower().count("elbow") == 1
    assert "left knee" in text and "right knee" in text
    assert read(text).codes == told


def test_an_omission_leaves_something_and_only_what_was_there():
    rng = np.random.default_rng(0)
    told = {"left_elbow": "straight", "nod": "bowed", "posture": "standing"}
    counts = [len(omitted(told, 0.3, rng)) for _ in range(300)]
    assert min(counts) == 1 and max(counts) == 3
    assert omitted({}, 0.5, rng) == {}


def test_a_caption_is_short_and_of_all_parts(random_joints):
    for joints in random_joints(40, 14):
        caption = caption_from_joints(joints)
        assert set(caption) == set(PARTS)
        assert max(map(len, caption.values())) <= 400
        assert read_parts(caption).codes == brief(said(posecodes(joints).categories()))
        assert all(text[0].isupper() and text.endswith(".") for text in caption.values())


def test_unseen_styles_share_no_words_with_trained_ones():
    assert set(TRAINED) | set(UNSEEN) == set(STYLES)
    for unseen in UNSEEN:
        for trained in TRAINED:
            assert not set(STYLES[unseen].wordings) & set(STYLES[trained].wordings)
            assert not set(STYLES[unseen].nouns) & set(STYLES[trained].nouns)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("kneeling, right arm raised", {"posture": "kneeling", "right_upper_arm": "raised"}),
        ("A person sits on the floor with both hands on the knees.",
         {"posture": "sitting", "left_touch_knee": "near", "right_touch_knee": "near"}),
        ("The left arm hangs down, the elbow slightly bent.",
         {"left_upper_arm": "down", "left_elbow": "slightly_bent"}),
        ("Left leg: knee bent at 90 degrees; thigh horizontal.",
         {"left_knee": "right_angle", "left_thigh": "level"}),
        ("Her right hand touches her face.", {"right_touch_head": "near"}),
        ("The body leans slightly forward, head tilted back.",
         {"inclination": "leaning", "lean": "forward", "nod": "back"}),
        ("Both arms are stretched out to the sides.",
         {f"{s}_{k}": v for s in ("left", "right")
          for k, v in (("upper_arm", "level"), ("upper_arm_way", "outward"), ("elbow", "straight"))}),
    ],
)  # fmt: skip
def test_what_others_say_is_understood(text, codes):
    assert read(text).codes == codes


def test_the_right_angle_is_no_side():
    assert read("The left elbow is bent at a right angle.").codes == {"left_elbow": "right_angle"}


@pytest.mark.parametrize(
    ("text", "said_of"),
    [
        ("The left knee is straight. The left knee is fully bent.", "left_knee is straight and fully_bent"),
        ("The left foot is ahead of the other foot. The right foot is ahead of the other foot.", "both feet are ahead"),
        ("The person is lying down and the torso is upright.", "posture is lying and inclination is upright"),
        ("The left hand is close to the other hand. The right hand is far from the other hand.", "hands_spread"),
    ],
)  # fmt: skip
def test_contradictions_are_found(text, said_of):
    assert any(said_of in told for told in read(text).contradictions)


def test_what_a_pose_says_never_contradicts_itself(random_joints):
    codes = posecodes(random_joints(300, 15))
    for index in range(300):
        text = write(said(codes[index].categories()))
        assert read_parts(text).contradictions == ()


@given(st.text(max_size=200))
@settings(deadline=None, max_examples=50)
def test_no_text_raises(text):
    reading = read(text)
    assert isinstance(reading.codes, dict)


def test_nonsense_is_listed_as_unread():
    reading = read("Colourless green ideas sleep furiously, the left elbow is straight.")
    assert reading.codes == {"left_elbow": "straight"}
    assert reading.unread == ("colourless green ideas sleep furiously",)


def test_brief_stems_exist():
    from alignhmr.core.language.facts import FACTS

    assert {fact.stem for fact in FACTS} >= BRIEF
