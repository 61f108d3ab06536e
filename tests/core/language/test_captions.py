"""What is understood of a model's answer: whole ones, wrapped ones, broken ones, and nonsense of any kind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignhmr.core.language.captions import MAX_SENTENCE, PROMPT, REASONS, SCHEMA, parse
from alignhmr.core.language.posecodes import PARTS

WHOLE = {part: f"The {part.replace('_', ' ')} is straight." for part in PARTS}


@given(
    st.fixed_dictionaries(
        {part: st.text(st.characters(codec="ascii"), min_size=1, max_size=60) for part in PARTS}
    )
)
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
