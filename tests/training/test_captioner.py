"""What a captioner learns from: whole true answers about what can be seen, and nothing of the question."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alignhmr.core.language.captions import UNKNOWN, answer_of, answered, parse
from alignhmr.core.language.facts import BY_NAME, FACTS, PARTS
from alignhmr.core.language.posecodes import moot, posecodes
from alignhmr.core.language.starter_vlm import CELL_PX, StarterVlmConfig, starter_processor, starter_vlm
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.deployments import torchvision_shim
from alignhmr.training import captioner
from alignhmr.training.augmentation import AS_IT_IS
from alignhmr.training.base_batches import MixedBatches, ObservationBatches, PictureBatches
from alignhmr.training.base_run import samplers
from alignhmr.training.captioner import (
    ASKED,
    IGNORED,
    CaptionBatches,
    CaptionStep,
    Taught,
    Truths,
    answers_about,
    caption_batch,
    codes_told,
    conversation,
    evaluate,
    most_frequent,
    pictures_of,
)
from alignhmr.training.mixture import Mixture

TINY = StarterVlmConfig(
    56, vision_width=32, vision_blocks=1, vision_feed=2, width=64, blocks=2, feed_forward=128
)
SIDE = TINY.picture_px
CELLS = (SIDE // CELL_PX) ** 2


@pytest.fixture(scope="module", autouse=True)
def _torchvision():
    torchvision_shim.install()


@pytest.fixture(scope="module")
def processor(_torchvision):
    return starter_processor(SIDE)


@pytest.fixture(scope="module")
def simulated(body, clips):
    return samplers(body, load_clips(clips), PoseMix())[0]


@pytest.fixture(scope="module")
def people(simulated):
    return simulated.sample(12, torch.Generator().manual_seed(0))


def test_what_is_learned_is_the_answer_and_its_end_alone(processor, people):
    answers = Truths.of(people).answers()
    batch = caption_batch(processor, pictures_of(people, SIDE, draw=True), answers)
    for row, answer in enumerate(answers):
        learned = batch.labels[row][batch.labels[row] != IGNORED]
        assert processor.tokenizer.decode(learned) == answer + processor.tokenizer.eos_token
        whole = batch.inputs["input_ids"][row]
        assert torch.equal(whole[batch.labels[row] != IGNORED], learned)
    texts = Truths.of(people).answers(texts=True)
    batch = caption_batch(processor, pictures_of(people, SIDE, draw=True), texts)
    assert (batch.inputs["attention_mask"] == 0).any(), "answers with free text have several lengths"
    assert (batch.labels[batch.inputs["attention_mask"] == 0] == IGNORED).all()
    for row, answer in enumerate(texts):
        learned = batch.labels[row][batch.labels[row] != IGNORED]
        assert processor.tokenizer.decode(learned) == answer + processor.tokenizer.eos_token
        assert not parse(answer).contradictions


def test_the_loss_is_the_mean_over_the_answers_tokens(processor, people):
    batch = caption_batch(processor, pictures_of(people, SIDE, draw=True), Truths.of(people).answers())
    model = starter_vlm(TINY).eval()
    with torch.no_grad():
        chances = model(**batch.inputs).logits.double().log_softmax(-1)
    # New weights are never right: every third token is to be what they say.
    labels, believed = batch.labels.clone(), chances.argmax(-1).roll(1, 1)
    third = (labels != IGNORED) & (torch.arange(labels.shape[1]) % 3 == 0)
    labels[third] = believed[third]
    batch = replace(batch, labels=labels)
    loss, told = CaptionStep(model)(batch, 0)
    losses, right = [], []
    for row in range(len(people)):
        for place in range(1, batch.labels.shape[1]):
            if (wanted := int(batch.labels[row, place])) != IGNORED:
                losses.append(-float(chances[row, place - 1, wanted]))
                right.append(int(chances[row, place - 1].argmax()) == wanted)
    assert float(loss.detach()) == pytest.approx(np.mean(losses), rel=1e-4)
    assert told["accuracy"] == pytest.approx(np.mean(right)) and 0.25 < np.mean(right) < 0.45


def test_eyes_tell_the_facts_of_their_own_picture_alone(processor, people):
    model = Taught(starter_vlm(TINY), CELLS).eval()
    pictures = pictures_of(people, SIDE, draw=True)
    batch = caption_batch(processor, pictures, Truths.of(people).answers())
    with torch.no_grad():
        logits, facts = model(**batch.inputs)
        assert torch.equal(logits, model.model(**batch.inputs).logits)
        assert [len(fact[0]) for fact in facts] == [len(FACTS[index].scale.names) for index in ASKED]
        for row in (0, 7):
            other = caption_batch(processor, pictures[row : row + 1], [answer_of({})])
            _, alone = model(**other.inputs)
            torch.testing.assert_close([fact[row : row + 1] for fact in facts], alone)
            assert not torch.allclose(facts[0][row], facts[0][row + 1], atol=1e-3)


def test_what_eyes_tell_is_weighed_and_only_where_it_is_true(processor, simulated):
    batch = CaptionBatches(ObservationBatches(simulated, 6, 7), processor, SIDE, True, False)(0)
    truths = Truths.of(ObservationBatches(simulated, 6, 7)(0))
    assert batch.codes is not None and batch.codes.shape == (6, len(ASKED))
    known = truths.told[:, ASKED]
    assert (batch.codes.numpy()[known] == truths.codes[:, ASKED][known]).all()
    assert (batch.codes.numpy()[~known] == IGNORED).all() and not known.all()
    torch.manual_seed(0)
    model = Taught(starter_vlm(TINY), CELLS).eval()
    with torch.no_grad():
        chances = [fact.double().log_softmax(-1) for fact in model(**batch.inputs)[1]]
        facts = []
        for column, fact in enumerate(chances):
            told = [-float(fact[row, batch.codes[row, column]]) for row in np.flatnonzero(known[:, column])]
            facts += [np.mean(told)] if told else []
        answers, _ = CaptionStep(model.model)(batch, 0)
        loss, values = CaptionStep(model, seen=0.5)(batch, 0)
    assert values["seen"] == pytest.approx(np.mean(facts), rel=1e-4)
    assert float(loss) == pytest.approx(float(answers) + 0.5 * np.mean(facts), rel=1e-4)


def test_hidden_parts_and_facts_without_meaning_are_unknown(people):
    visible = people.visible.clone()
    hand = [18, 20, 22]  # the left elbow, wrist and hand
    visible[0, hand] = False
    visible[1, hand[:2]] = False
    seen = replace(people, visible=visible)
    truths = Truths.of(seen)
    assert truths.unseen[0] == ("left_arm",) and truths.unseen[1] == ()
    codes = posecodes(people.joints_m.numpy())
    without = moot(codes.codes)
    for row, answer in enumerate(truths.answers()):
        said = answered(answer)
        for index in ASKED:
            fact = FACTS[index]
            if fact.part in truths.unseen[row] or without[row, index]:
                assert fact.name not in said
            else:
                assert said[fact.name] == fact.scale.names[codes.codes[row, index]]
    assert f'"left_arm":{{"upper_arm":"{UNKNOWN}"' in truths.answers()[0]


def test_who_has_no_picture_is_drawn_on_black(people):
    plain = pictures_of(people, SIDE, draw=False)
    assert plain.shape == (12, SIDE, SIDE, 3) and not plain.any()
    drawn = pictures_of(people, SIDE, draw=True)
    assert (drawn.reshape(12, -1).max(1) > 100).all() and (drawn == 0).mean() > 0.5
    flat = replace(people, detector_3d_m=torch.zeros_like(people.detector_3d_m))
    assert not np.array_equal(pictures_of(flat, SIDE, draw=True), drawn), "depth shades what is drawn"


def test_each_is_shown_their_own_picture(people):
    colours = torch.tensor([[200.0, 0, 0], [0, 200, 0], [0, 0, 200]])
    has_image = torch.zeros(12, dtype=torch.bool)
    has_image[[1, 4, 9]] = True
    crops = colours[:, :, None, None].expand(3, 3, SIDE, SIDE)
    some = replace(people, has_image=has_image, crops=crops)
    plain = pictures_of(some, SIDE, draw=False)
    for row, colour in zip((1, 4, 9), colours.tolist(), strict=True):
        assert (plain[row] == colour).all()
    assert not plain[~has_image.numpy()].any()
    drawn = pictures_of(some, SIDE, draw=True)
    bare = pictures_of(people, SIDE, draw=True)
    for row in range(12):
        ground = (bare[row] == 0).all(-1)  # where nothing is drawn, or the rim of what is
        assert (drawn[row] == bare[row])[~ground].mean() > 0.9, "the same is drawn in, whatever lies below"
        # Their surroundings are darkened; bones have black rims.
        told = np.median(drawn[row][ground], axis=0)
        assert (told == (plain[row, 0, 0] * 0.45).astype(int)).all()


def test_new_weights_tell_drawn_people_apart(people):
    """Or they would learn what is frequent before they look."""
    config = StarterVlmConfig()
    pictures = pictures_of(people, config.picture_px, draw=True)
    batch = caption_batch(starter_processor(config.picture_px), pictures, Truths.of(people).answers())
    begun = int((batch.labels[0] != IGNORED).nonzero()[0])
    with torch.no_grad():
        first = starter_vlm(config).eval()(**batch.inputs).logits[:, begun - 1]
    # With pixels measured by those of photos it is 0.05.
    assert first.std(0).mean() > 0.1 * first.std()


def test_a_workers_share_is_its_rows_of_the_whole(processor, simulated, body, made, tmp_path):
    made.write_people(tmp_path / "wild", made.seen_people(body, 8), domain="wild", split="train", seed=0)

    def batches(rank: int, world: int) -> CaptionBatches:
        mixture = Mixture([(str(tmp_path / "wild"), 1.0)])
        shown = PictureBatches(mixture, body, 4, SIDE, AS_IT_IS)
        people = MixedBatches(ObservationBatches(simulated, 4, 7, rank, world), shown)
        return CaptionBatches(people, processor, SIDE, True, False)

    whole, parts = batches(0, 1)(3), [batches(rank, 2)(3) for rank in range(2)]
    for rank, part in enumerate(parts):
        rows = [2 * rank, 2 * rank + 1, 4 + 2 * rank, 5 + 2 * rank]
        assert torch.equal(part.labels, whole.labels[rows])
        patches = len(whole.inputs["pixel_values"]) // 8
        pixels = whole.inputs["pixel_values"].reshape(8, patches, -1)[rows]
        assert torch.equal(part.inputs["pixel_values"].reshape(4, patches, -1), pixels)


@pytest.mark.slow
def test_a_few_people_are_learned_by_heart(processor, people):
    few = people.take(slice(0, 6))
    pictures, answers = pictures_of(few, SIDE, draw=True), Truths.of(few).answers()
    batch, model = caption_batch(processor, pictures, answers), starter_vlm(TINY)
    step = CaptionStep(model.train())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(400):
        loss, told = step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert told["accuracy"] > 0.99
    assert answers_about(model.eval(), processor, pictures, at_once=4) == answers
    figures = evaluate(model, processor, few, SIDE, draw=True)
    assert figures["macro_f1"] == 1.0 and figures["valid_json"] == 1.0
    assert 0 < figures["majority_macro_f1"] < 0.9
    other = evaluate(model, processor, people.take(slice(6, 12)), SIDE, draw=True)
    assert other["macro_f1"] < 1.0


def test_who_does_not_look_is_judged_beside_the_model(processor, people, monkeypatch):
    monkeypatch.setattr(captioner, "_LONGEST_ANSWER", 4)  # new weights end no answer of their own accord
    figures = evaluate(starter_vlm(TINY).eval(), processor, people, SIDE, draw=True)
    assert figures["macro_f1"] == figures["valid_json"] == 0
    truths, facts = Truths.of(people), []
    for index in ASKED:
        true = truths.codes[truths.told[:, index], index].tolist()
        frequent = max(sorted(set(true)), key=true.count)
        if len(set(true)) > 1:
            # Precision is the category's share, recall 1; all others are missed.
            share = true.count(frequent) / len(true)
            facts.append(2 * share / (1 + share) / len(set(true)))
    assert figures["majority_macro_f1"] == pytest.approx(np.mean(facts))


def test_answers_are_read_as_numbers_and_the_most_frequent_is_what_it_says(people):
    truths = Truths.of(people)
    true, counted = truths.codes[:, ASKED], truths.told[:, ASKED]
    told = codes_told(truths.answers())
    assert (told[counted] == true[counted]).all() and (told[~counted] == -1).all()
    assert (codes_told(["no JSON at all"]) == -1).all()
    most = most_frequent(true, counted)
    for column in range(true.shape[1]):
        values = true[counted[:, column], column].tolist()
        assert values.count(most[0, column]) == max(map(values.count, values))


def test_a_conversation_ends_where_the_model_is_to_answer(processor):
    begun = conversation(processor, None)
    assert (
        begun.endswith("<|im_start|>assistant\n")
        and conversation(processor, "yes") == begun + "yes<|im_end|>"
    )
    assert {BY_NAME[FACTS[index].name].part for index in ASKED} == set(PARTS)
