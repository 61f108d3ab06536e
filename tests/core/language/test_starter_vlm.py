"""The starter's tokenizer answers in one token a fact, and spells everything else; its model takes what it makes."""

import numpy as np
import pytest
import torch

from alignhmr.core.errors import InputError
from alignhmr.core.language.captions import PROMPT, UNKNOWN, answer_of, asked
from alignhmr.core.language.facts import PARTS
from alignhmr.core.language.starter_vlm import (
    CELL_PX,
    StarterVlmConfig,
    answer_tokens,
    starter_processor,
    starter_tokenizer,
    starter_vlm,
)
from alignhmr.deployments import torchvision_shim

TINY = StarterVlmConfig(
    56, vision_width=32, vision_blocks=1, vision_feed=2, width=32, blocks=1, feed_forward=64
)
ASKED = [fact for part in PARTS for fact in asked(part)]


@pytest.fixture(scope="module", autouse=True)
def _torchvision():
    torchvision_shim.install()


@pytest.fixture(scope="module")
def tokenizer():
    return starter_tokenizer()


def random_codes(rng: np.random.Generator) -> dict[str, str]:
    return {fact.name: str(rng.choice([*fact.scale.names, UNKNOWN])) for fact in ASKED}


def test_an_answer_is_a_token_for_its_beginning_and_one_for_each_fact(tokenizer):
    rng = np.random.default_rng(0)
    for _ in range(50):
        codes = random_codes(rng)
        answer = answer_of(codes)
        ids = tokenizer(answer)["input_ids"]
        assert len(ids) == 1 + len(ASKED)
        assert tokenizer.decode(ids) == answer
        for fact, token in zip(ASKED, tokenizer.convert_ids_to_tokens(ids[1:]), strict=True):
            assert token.startswith(f'{codes[fact.name]}"')


def test_the_question_is_one_token_and_any_text_survives(tokenizer):
    assert len(tokenizer(PROMPT)["input_ids"]) == 1
    for text in ("A hand on the hip.", "Ünïcode 膝\n\ttabs", '{"version": 2}', "", answer_of({})[:100]):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_it_is_the_same_tokenizer_each_time(tokenizer):
    assert starter_tokenizer().get_vocab() == tokenizer.get_vocab()
    assert len(set(answer_tokens())) == len(answer_tokens())


def test_the_model_takes_what_the_processor_makes():
    processor = starter_processor(TINY.picture_px)
    content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    picture = np.zeros((TINY.picture_px, TINY.picture_px, 3), np.uint8)
    given = processor(text=[text], images=[picture], return_tensors="pt")
    cells = (given["input_ids"] == processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum()
    assert int(cells) == (TINY.picture_px // CELL_PX) ** 2
    model = starter_vlm(TINY)
    with torch.no_grad():
        logits = model(**given).logits
    assert logits.shape[-1] >= len(processor.tokenizer) and torch.isfinite(logits).all()


def test_a_seed_has_its_weights_and_sizes_that_no_head_divides_are_refused():
    one, again, other = (starter_vlm(TINY, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())
    for wrong in ({"picture_px": 100}, {"width": 100}, {"vision_width": 100}):
        with pytest.raises(InputError, match="give a multiple of"):
            StarterVlmConfig(**wrong)
