"""What a user adds to a photo: files of keypoints, sentences, and how what became of them is told."""

import json
from pathlib import Path

import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.records import Person, Picture, RefinementReport
from alignhmr.core.refinement import Prompt
from alignhmr.deployments import prompts

ROWS = [[float(10 + i), float(20 + 2 * i), 0.9] for i in range(23)]


class Boxed:
    """Finds one person, and stands in any box."""

    def find(self, picture: Picture) -> list[Person]:
        return self.from_boxes(picture, np.zeros((1, 4), np.float32))

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        return [Person(box, 0.5, np.zeros((23, 3), np.float32)) for box in boxes_px]


def written(folder: Path, content: object) -> Path:
    path = folder / "points.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_answer_of_predict_can_be_given_back(tmp_path):
    people = [{"keypoints_px": ROWS, "box_px": [1, 2, 30, 40], "score": 3.0}, {"keypoints_px": ROWS}]
    found = prompts.read_keypoints(written(tmp_path, {"format": "alignhmr.predict/1", "people": people}))
    assert len(found) == 2 and found[1][1] is None
    np.testing.assert_array_equal(found[0][1], np.array([1, 2, 30, 40], np.float32))
    np.testing.assert_allclose(found[0][0], ROWS)


def test_one_person_alone_and_places_without_confidence(tmp_path):
    [(keypoints, box)] = prompts.read_keypoints(written(tmp_path, [row[:2] for row in ROWS]))
    assert box is None and (keypoints[:, 2] == 1).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        (ROWS[:20], "holds no 23 keypoints"),
        ({"persons": []}, "holds no 23 keypoints"),
        ({"people": [{"keypoints_px": "no"}]}, "holds no 23 keypoints"),
        ({"people": [3]}, "holds no 23 keypoints"),
        ([[1, 2, 1.5]] * 23, "outside 0..1"),
        ([[float("nan"), 2, 1.0]] * 23, "holds no 23 keypoints"),
        ({"people": [{"keypoints_px": ROWS, "box_px": [5, 5, 1, 9]}]}, "without area"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_the_reason(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        prompts.read_keypoints(written(tmp_path, content))


def test_a_missing_file_and_an_empty_one(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        prompts.read_keypoints(tmp_path / "none.json")
    with pytest.raises(InputError, match="holds nobody"):
        prompts.given_keypoints(written(tmp_path, {"people": []}), 1, 0)
    with pytest.raises(InputError, match="give one photo"):
        prompts.given_keypoints(written(tmp_path, ROWS), 2, 0)
    with pytest.raises(InputError, match="3 boxes were given for the 1 people"):
        prompts.given_keypoints(written(tmp_path, ROWS), 1, 3)


def test_who_is_given_stands_in_the_box_that_is_said_told_or_drawn():
    picture = Picture(np.zeros((90, 80, 3), np.uint8), "0" * 64)
    keypoints, box = np.array(ROWS, np.float32), np.array([1, 2, 30, 40], np.float32)
    [boxed] = prompts.people_of(Boxed(), picture, [(3, 4, 50, 60)], [(keypoints, box)])  # type: ignore[arg-type]
    [own] = prompts.people_of(Boxed(), picture, [], [(keypoints, box)])  # type: ignore[arg-type]
    [drawn] = prompts.people_of(Boxed(), picture, [], [(keypoints, None)])  # type: ignore[arg-type]
    assert boxed.box_px.tolist() == [3, 4, 50, 60] and own.box_px.tolist() == box.tolist()
    x0, y0, x1, y1 = drawn.box_px.tolist()
    assert x0 < 10 and y0 < 20 and 32 < x1 <= 80 and 64 < y1 <= 90
    for person in (boxed, own, drawn):
        np.testing.assert_array_equal(person.keypoints_px, keypoints)
    [found] = prompts.people_of(Boxed(), picture, [], [])  # type: ignore[arg-type]
    assert not found.keypoints_px.any()


@pytest.mark.parametrize("rows", [[[0, 0, 0]] * 23, [[500, 500, 1]] * 23, [[40, 40, 1]] * 23])
def test_keypoints_that_take_up_no_room_are_refused(rows):
    picture = Picture(np.zeros((90, 80, 3), np.uint8), "")
    with pytest.raises(
        InputError, match=r"person 0 that are seen take up no room in the picture \(80 x 90 px\)"
    ):
        prompts.people_of(Boxed(), picture, [], [(np.array(rows, np.float32), None)])  # type: ignore[arg-type]


def test_a_prompt_is_made_only_of_what_was_asked():
    assert prompts.prompt_of(False, None, given_keypoints=False) is None
    assert prompts.prompt_of(True, None, given_keypoints=False) == Prompt()
    assert prompts.prompt_of(False, None, given_keypoints=True) == Prompt(given_keypoints=True)
    said = prompts.prompt_of(False, "the left elbow is straight", given_keypoints=False)
    assert said is not None and said.chosen(True).iterations > Prompt().chosen(False).iterations
    for text, words in (("  ", "the text is empty"), ("hello there", "nothing was understood")):
        with pytest.raises(InputError, match=words):
            prompts.prompt_of(False, text, given_keypoints=False)


def test_a_sentence_is_about_one_person():
    prompts.check_who_is_meant(Prompt(), 3)
    prompts.check_who_is_meant(Prompt("the left elbow is straight"), 1)
    with pytest.raises(InputError, match="2 were found; say who with --box"):
        prompts.check_who_is_meant(Prompt("the left elbow is straight"), 2)


def test_what_became_of_it_is_told_in_words_and_numbers():
    fell_back = {"not_finite": 0, "no_better": 2, "impossible": 1}
    told = {"left_elbow": "straight", "nod": "bowed"}
    report = RefinementReport(
        0.031, 0.012345, 17.0, fell_back, 19, told, 0.5, 1.0, ("purple monkeys",), (), False
    )
    assert prompts.in_words(report) == (
        ", keypoints off 3.1 -> 1.2 % of the crop, 1 -> 2 of 2 things said are shown"
        " (not understood: purple monkeys), 3 of 19 hypotheses left as drawn"
    )
    answer = report.as_dict()
    assert answer["off_after"] == 0.0123 and answer["fell_back"] == fell_back
    assert json.loads(json.dumps(answer)) == answer
