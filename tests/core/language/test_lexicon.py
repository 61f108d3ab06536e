"""The words: no clause says two things, none holds what clauses are joined by, and each row has its alternatives."""

import re

from alignhmr.core.language.facts import FACTS, SIDES
from alignhmr.core.language.lexicon import HELD_OUT, WORDINGS, WORDS, clause


def every_clause():
    for stem, words in WORDS.items():
        sided = any(fact.stem == stem and fact.side for fact in FACTS)
        for side in (*SIDES, *(("both",) if words.both else ())) if sided else (None,):
            for category in words.predicates:
                for noun in range(WORDINGS):
                    for wording in range(WORDINGS):
                        yield (stem, side, category), clause(stem, category, side, noun, wording)


def test_no_clause_says_two_things():
    meaning: dict[str, tuple] = {}
    for said, text in every_clause():
        assert meaning.setdefault(text, said) == said, text


def test_clauses_hold_no_joints_and_no_leftovers():
    for _, text in every_clause():
        assert not re.search(r"[,.:;{}]|\band\b|\bwhile\b", text), text
        assert text == text.lower() == " ".join(text.split())


def test_every_row_has_its_alternatives():
    scales = {fact.stem: fact.scale for fact in FACTS}
    for stem, words in WORDS.items():
        assert len(set(words.nouns)) == WORDINGS or stem == "lean"
        assert not words.both or len(set(words.both)) == WORDINGS
        assert set(words.predicates) == set(scales[stem].names) - set(scales[stem].silent), stem
        for category, row in words.predicates.items():
            assert len(set(row)) == WORDINGS, (stem, category)


def test_held_out_wordings_are_new():
    for stem, words in WORDS.items():
        for row in words.predicates.values():
            assert not set(row[-HELD_OUT:]) & set(row[:-HELD_OUT]), stem


def test_verbs_agree_with_their_nouns():
    assert clause("elbow", "straight", "left", 0, 0) == "the left elbow is straight"
    assert clause("elbow", "straight", "both", 0, 0) == "both elbows are straight"
    assert clause("forearm", "up", "both", 0, 0) == "both forearms point straight up"
    assert clause("twist", "left", None, 0, 0) == "the shoulders are twisted to the left"
    assert clause("touch_hand", "near", "left", 0, 0) == "the left hand touches the right hand"
