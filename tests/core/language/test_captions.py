"""What is understood of a model's answer: whole ones, wrapped ones, broken ones, and nonsense of any kind."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignhmr.core.language.captions import (
    AGAIN,
    MAX_SENTENCE,
    PROMPT,
    REASONS,
    SCHEMA,
    SCHEMA_VERSION,
    UNKNOWN,
    answer_of,
    answered,
    asked,
    parse,
)
from alignhmr.core.language.facts import BY_NAME, FACTS
from alignhmr.core.language.posecodes import PARTS

WHOLE = {part: f"The {part.replace('_', ' ')} is straight." for part in PARTS}


@given(
    st.fixed_dictionaries(
        {part: st.text(st.characters(codec="ascii"), min_size=1, max_size=60) for part in PARTS}
    )
)
@settings(deadline=None, max_examples=50)
def test_an_answer_to_the_letter_comes_back_as_it_was(sentences):
    clean = {part: f"the arm {' '.join(text.split())}".strip() for part, text in sentences.items()}
    parsed = parse(json.dumps(clean))
    assert parsed.sentences == clean
    assert parsed.problem is None


@pytest.mark.parametrize(
    "wrapped",
    [
        "```json\n@\n```",
        "Sure! Here is the description you asked for:\n\n@\n\nLet me know if you need more.",
        "{not json} @",
        "<think>The pose {is} hard to see.</think>\n@",
        '{"caption": @}',
    ],
)
def test_what_stands_around_the_json_is_ignored(wrapped):
    parsed = parse(wrapped.replace("@", json.dumps(WHOLE)))
    assert parsed.sentences == WHOLE
    assert parsed.reason is None


def camel(key):
    first, *others = key.split("_")
    return first + "".join(word.title() for word in others)


@pytest.mark.parametrize(
    "spell",
    [
        str.upper,
        str.title,
        camel,
        lambda key: key.replace("_", " "),
        lambda key: f"**{key.replace('_', '-')}**",
    ],
)
def test_keys_may_be_spelled_otherwise(spell):
    assert parse(json.dumps({spell(part): text for part, text in WHOLE.items()})).sentences == WHOLE


def test_values_may_be_lists_or_objects():
    answer = {
        **WHOLE,
        "head": ["The head is bowed,", "slightly."],
        "torso": {"lean": "The torso is upright."},
    }
    parsed = parse(json.dumps(answer))
    assert parsed.sentences["head"] == "The head is bowed, slightly."
    assert parsed.sentences["torso"] == "The torso is upright."
    assert parsed.reason is None


def test_a_line_for_each_part_will_do():
    lines = "\n".join(
        f"{n}. **{part.replace('_', ' ').title()}**: {text}" for n, (part, text) in enumerate(WHOLE.items())
    )
    assert parse(lines).sentences == WHOLE


def test_an_answer_that_breaks_off_keeps_its_whole_sentences():
    text = json.dumps(WHOLE)
    parsed = parse(text[: text.index("right_leg") - 3])
    assert parsed.sentences == {part: WHOLE[part] for part in PARTS[:-1]}
    assert parsed.problem == "truncated: right_leg"


def test_missing_parts_are_named():
    parsed = parse(json.dumps({**WHOLE, "head": "", "torso": None}))
    assert parsed.problem == "missing_parts: head, torso"
    assert len(parsed.sentences) == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "empty"),
        ("  \n", "empty"),
        ("The person stands upright with both arms hanging down.", "not_json"),
        ("I'm sorry, I can't describe people in pictures.", "refused"),
        ('{"description": "a person"}', "no_parts"),
        ("[1, 2, 3]", "not_json"),
        ('{"head": "The he', "truncated"),
        (json.dumps({part: "Der linke Arm ist gebeugt und zeigt nach oben." for part in PARTS}), "language"),
        (json.dumps({part: "Le bras gauche pend le long du corps." for part in PARTS}), "language"),
        (json.dumps({part: "左臂自然下垂" for part in PARTS}), "language"),
        ("� head��\x13 head��\x13 head", "not_json"),
    ],
)
def test_an_unusable_answer_says_why(text, reason):
    parsed = parse(text)
    assert parsed.reason == reason
    assert parsed.sentences == {}
    assert parsed.problem is not None and parsed.problem.startswith(reason)


@given(st.text(max_size=400))
@settings(deadline=None, max_examples=50)
def test_no_text_at_all_raises(text):
    for answer in (text, "{" + text, json.dumps({"head": text}), json.dumps(text)):
        parsed = parse(answer)
        assert parsed.reason in REASONS
        assert parsed.sentences.keys() <= set(PARTS)


def test_nesting_without_end_does_not_raise():
    assert parse('{"a":' * 5000 + "}").reason in REASONS


def test_long_answers_are_cut_and_quick():
    parsed = parse(json.dumps({part: "the " * 50_000 for part in PARTS}))
    assert all(len(text) <= MAX_SENTENCE for text in parsed.sentences.values())
    assert parse("{" * 20_000).reason in REASONS


def test_prompt_and_schema_ask_for_the_same_parts():
    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) == {"version", *PARTS}
    assert all(f'"{part}"' in PROMPT for part in PARTS)


def answer(category: int = 0, text: str = "The part is in the picture.") -> dict:
    """A whole answer to the letter of the schema; each code is its fact's category of that number."""
    parts = {
        part: {
            **{fact.stem: fact.scale.names[category % len(fact.scale.names)] for fact in asked(part)}, "text": text,
        }
        for part in PARTS
    }  # fmt: skip
    return {"version": SCHEMA_VERSION, **parts}


STANDING = answer() | {
    "torso": {"posture": "standing", "inclination": "leaning", "lean": "forward", "facing": "toward", "chest": "level",
              "text": "Someone walks."},
    "left_arm": {"upper_arm": "low", "elbow": "straight", "touch_head": "away", "hand_height": "hips", "text": ""},
    "right_arm": {"upper_arm": "up", "elbow": "unknown", "hand_height": "above_head", "text": "it waves"},
    "left_leg": {"knee": "straight", "foot_ahead": "ahead", "text": "The left leg carries the weight."},
    "right_leg": {"knee": "half bent", "foot_ahead": "behind", "text": "unsure"},
    "head": {"nod": "bowed", "tilt": UNKNOWN, "text": ""},
}  # fmt: skip


def test_posecodes_of_an_answer_are_understood():
    parsed = parse(json.dumps(STANDING))
    assert parsed.problem is None and parsed.contradictions == ()
    wanted = {
        "posture": "standing", "inclination": "leaning", "lean": "forward", "facing": "toward", "nod": "bowed",
        "left_upper_arm": "low", "left_elbow": "straight", "left_hand_height": "hips", "right_upper_arm": "up",
        "right_hand_height": "above_head", "left_knee": "straight", "left_foot_ahead": "ahead",
        "right_knee": "half_bent", "right_foot_ahead": "behind",
    }  # fmt: skip
    assert parsed.codes == wanted, "silent and unknown codes say nothing"
    assert parsed.sentences["right_leg"].startswith(
        "The right knee is half bent and the right foot is behind"
    )
    assert parsed.sentences["left_leg"].endswith("The left leg carries the weight.")


@pytest.mark.parametrize("version", [1, 3, "two", None])
def test_an_answer_of_another_schema_is_refused(version):
    parsed = parse(json.dumps(STANDING | {"version": version}))
    assert (
        parsed.reason == "version" and parsed.sentences == {} and f"wanted {SCHEMA_VERSION}" in parsed.detail
    )


def test_the_version_may_be_wrapped_and_spelled():
    assert parse(json.dumps({"answer": STANDING | {"version": 1}})).reason == "version"
    assert parse(json.dumps(STANDING | {"version": "2"})).problem is None


def test_a_part_that_is_not_seen_is_not_missing():
    unseen = {fact.stem: UNKNOWN for fact in asked("left_arm")} | {"text": ""}
    parsed = parse(json.dumps(STANDING | {"left_arm": unseen}))
    assert parsed.problem is None and parsed.sentences["left_arm"] == "The left arm is not visible."
    assert not any(name.startswith("left_") and "arm" in name for name in parsed.codes)


def test_an_answer_that_contradicts_itself_is_kept_and_marked():
    both = {"foot_ahead": "ahead", "knee": "straight", "text": ""}
    parsed = parse(json.dumps(STANDING | {"left_leg": both, "right_leg": both}))
    assert parsed.problem == "contradiction: both feet are ahead"
    assert set(parsed.sentences) == set(PARTS)


def test_text_against_a_code_is_a_contradiction():
    arm = {"elbow": "straight", "text": "The left elbow is sharply bent."}
    parsed = parse(json.dumps(STANDING | {"left_arm": arm}))
    assert parsed.reason == "contradiction" and "left_elbow is straight and fully_bent" in parsed.detail


def test_whole_parts_of_an_answer_that_broke_off_are_kept():
    text = json.dumps(answer(1))
    parsed = parse(text[: text.index('"right_leg"') + 40])
    assert parsed.problem == "truncated: right_leg"
    assert set(parsed.sentences) == set(PARTS[:-1])
    assert parse(json.dumps(answer() | {"version": 1})[:300]).reason == "version"


def test_the_schema_holds_every_answer_that_is_written_to_it():
    for category in range(9):
        told = answer(category)
        assert set(told) == set(SCHEMA["required"])
        for part in PARTS:
            shape = SCHEMA["properties"][part]
            assert set(told[part]) == set(shape["required"]) == set(shape["properties"])
            assert all(
                told[part][key] in kind["enum"] for key, kind in shape["properties"].items() if key != "text"
            )
            assert all(UNKNOWN in kind["enum"] for key, kind in shape["properties"].items() if key != "text")


def test_what_is_asked_is_what_a_short_description_tells():
    names = [fact.name for part in PARTS for fact in asked(part)]
    assert len(names) == len(set(names)) and {fact.name for fact in FACTS} >= set(names)
    assert AGAIN <= set(REASONS)


def _random_answer(rng: np.random.Generator) -> dict[str, str]:
    facts = [fact for part in PARTS for fact in asked(part)]
    return {fact.name: str(rng.choice(fact.scale.names)) for fact in facts}


def test_a_whole_answer_is_valid_and_read_as_it_was_meant():
    jsonschema = pytest.importorskip("jsonschema")
    rng = np.random.default_rng(3)
    for _ in range(30):
        codes = _random_answer(rng)
        unseen = [part for part in PARTS if rng.random() < 0.2]
        answer = answer_of(codes, unseen, {"head": "It looks down."})
        jsonschema.validate(json.loads(answer), SCHEMA)
        meant = {name: category for name, category in codes.items() if BY_NAME[name].part not in unseen}
        assert answered(answer) == meant
        said = parse(answer)
        assert said.reason in (None, "contradiction") and set(said.sentences) == set(PARTS)
        loud = {n: c for n, c in meant.items() if c not in BY_NAME[n].scale.silent}
        if said.reason is None:
            assert said.codes.items() >= loud.items()
        assert all("not visible" in said.sentences[part] for part in unseen if part != "head")


def test_codes_of_nonsense_are_none():
    for text in ("", "no", "{", '{"head": "bowed"}', '{"left_arm": {"elbow": "very bent"}}'):
        assert answered(text) == {}
    assert answered('{"left_arm": {"elbow": "straight", "touch_head": "away"}}') == {
        "left_elbow": "straight", "left_touch_head": "away",
    }  # fmt: skip
