"""How a vision-language model learns to describe a pose: pictures of made people, and the answers that are true.

An answer's facts are posecodes of the true joints (``language/posecodes.py``). Parts of which nothing can be seen, and
facts that have no meaning, are answered "unknown". The loss is the cross-entropy of the answer's tokens alone.

Left to that loss, a new model first learns which answers are frequent and which facts go together, and for a long time
nothing makes it look: 12,000 people taught it no more than a black picture would. So while it is new, what its eyes
make of a picture must tell the same facts by itself (``Taught``), through a layer that isn't shipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.diffusion.condition import to_crop
from alignhmr.core.language.agreement import PART_JOINTS
from alignhmr.core.language.captions import PROMPT, answer_of, answered, asked, parse
from alignhmr.core.language.facts import BY_NAME, FACTS, INDEX, PARTS
from alignhmr.core.language.posecodes import moot, posecodes
from alignhmr.core.language.writing import STYLES, write
from alignhmr.core.metrics.classification import macro_f1
from alignhmr.core.perception.drawings import drawn
from alignhmr.core.synthetic.observations import Observations
from alignhmr.training.base import Precision
from alignhmr.training.base_batches import MixedBatches, ObservationBatches

ASKED: tuple[int, ...] = tuple(INDEX[fact.name] for part in PARTS for fact in asked(part))
"""Of ``FACTS``, in the order of an answer."""
IGNORED = -100
"""Label of tokens that aren't learned."""
_AT_ONCE = 64
"""Answers written together."""
_LONGEST_ANSWER = 1024
_SURE = 0.7
"""Of a category, to be told in free text."""


@dataclass(frozen=True)
class Truths:
    """What is true of people, as far as it is asked."""

    codes: Int[np.ndarray, "people facts"]
    """Of all facts."""
    told: Bool[np.ndarray, "people facts"]
    """Facts that have a meaning, of parts that can be seen."""
    unseen: tuple[tuple[str, ...], ...]
    """Of each person, the parts of which nothing can be seen."""
    confidence: Float[np.ndarray, "people facts"]
    """Of each code."""

    @classmethod
    def of(cls, people: Observations) -> "Truths":
        found = posecodes(people.joints_m.numpy())
        visible = people.visible[:, : len(JOINTS)].numpy()
        seen: dict[str, np.ndarray] = {
            part: np.any(visible[:, list(joints)], axis=1) for part, joints in PART_JOINTS.items()
        }
        told = ~moot(found.codes) & np.stack([seen[fact.part] for fact in FACTS], 1)
        unseen = tuple(tuple(part for part in PARTS if not seen[part][i]) for i in range(len(people)))
        return cls(found.codes, told, unseen, found.confidence)

    def answers(self, *, texts: bool = False) -> list[str]:
        """The whole answer about each person."""
        answers = []
        for codes, told, unseen, confidence in zip(
            self.codes, self.told, self.unseen, self.confidence, strict=True
        ):
            categories = {FACTS[i].name: FACTS[i].scale.names[codes[i]] for i in np.flatnonzero(told)}
            words: dict[str, str] = {}
            if texts:
                sure = {FACTS[i].name for i in np.flatnonzero(confidence > _SURE)}
                words = write(
                    {
                        name: category
                        for name, category in categories.items()
                        if name in sure and category not in BY_NAME[name].scale.silent
                    },
                    STYLES["plain"],
                )
            answers.append(answer_of(categories, unseen, words))
        return answers


def pictures_of(people: Observations, side: int, *, draw: bool) -> UInt8[np.ndarray, "people side side 3"]:
    """What a model is shown of each: their crop, black where there is none, with keypoints drawn in if so wished."""
    pictures = np.zeros((len(people), side, side, 3), np.uint8)
    pictures[people.has_image.numpy()] = people.crops.permute(0, 2, 3, 1).clamp(0, 255).byte().numpy()
    if not draw:
        return pictures
    places = ((to_crop(people.keypoints_px[..., :2], people.crop_px) + 1) / 2 * side).numpy()
    confidence, depth = people.keypoints_px[..., 2].numpy(), people.detector_3d_m[..., 2].numpy()
    guessed = np.abs(depth).max(1) > 0
    return np.stack(
        [
            drawn(pictures[i], places[i], confidence[i], depth[i] if guessed[i] else None)
            for i in range(len(people))
        ]
    )


@dataclass(frozen=True)
class CaptionBatch:
    """People shown and described, as a model of `transformers` takes them."""

    inputs: dict[str, Tensor]
    labels: Int[Tensor, "people tokens"]
    codes: Int[Tensor, "people asked"] | None = None
    """What is true, in the order of ``ASKED``; ``IGNORED`` where it isn't told."""

    def to(self, device: str | torch.device) -> "CaptionBatch":
        moved = {name: value.to(device) for name, value in self.inputs.items()}
        codes = None if self.codes is None else self.codes.to(device)
        return CaptionBatch(moved, self.labels.to(device), codes)


@dataclass(frozen=True)
class CaptionBatches:
    """A worker's share of global batch k."""

    people: MixedBatches | ObservationBatches
    processor: Any
    """Of `transformers`: conversations and pictures to tensors."""
    side: int
    draw: bool
    texts: bool

    def __call__(self, k: int) -> CaptionBatch:
        people = self.people(k)
        truths, pictures = Truths.of(people), pictures_of(people, self.side, draw=self.draw)
        codes = np.where(truths.told, truths.codes, IGNORED)[:, ASKED]
        batch = caption_batch(self.processor, pictures, truths.answers(texts=self.texts))
        return replace(batch, codes=torch.from_numpy(codes))


def caption_batch(
    processor: Any, pictures: UInt8[np.ndarray, "people side side 3"], answers: Sequence[str]
) -> CaptionBatch:
    """Conversations that end with the answer, of which nothing else is learned."""
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "right"
    texts = [conversation(processor, answer) for answer in answers]
    inputs = dict(processor(text=texts, images=list(pictures), padding=True, return_tensors="pt"))
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    begun = conversation(processor, None)
    labels = torch.full_like(ids, IGNORED)
    for row, text in enumerate(texts):
        ending = tokenizer(text.removeprefix(begun), add_special_tokens=False, return_tensors="pt")[
            "input_ids"
        ][0]
        stop = int(mask[row].sum())
        start = stop - len(ending)
        assert torch.equal(ids[row, start:stop], ending), (
            "an answer's tokens don't depend on what precedes it"
        )
        labels[row, start:stop] = ending
    return CaptionBatch(inputs, labels)


def conversation(processor: Any, answer: str | None) -> str:
    """The question about a picture, and its answer; without one, up to where the model is to answer."""
    asked_ = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}
    begun = processor.apply_chat_template([asked_], add_generation_prompt=True, tokenize=False)
    return begun if answer is None else begun + answer + processor.tokenizer.eos_token


class Taught(nn.Module):
    """A new model, and a layer that tells the facts from what its eyes make of a picture, all of one size."""

    def __init__(self, model: Any, picture_tokens: int) -> None:
        super().__init__()
        self.model = model
        width = picture_tokens * model.config.text_config.hidden_size
        self.sizes = [len(FACTS[index].scale.names) for index in ASKED]
        self.facts = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(self.sizes)))

    def forward(self, **inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits of the tokens, and those of each fact's categories."""
        seen: list[Any] = []
        hook = self.model.model.visual.register_forward_hook(lambda _, __, made: seen.append(made))
        try:
            logits = self.model(**inputs).logits
        finally:
            hook.remove()
        # By picture, or of all in a row; as they are, or in an object beside others.
        [made] = seen
        made = getattr(made, "pooler_output", made)
        tokens = made if isinstance(made, Tensor) else torch.cat(tuple(made))
        people = len(inputs["input_ids"])
        return logits, list(self.facts(tokens.reshape(people, -1)).split(self.sizes, 1))


class CaptionStep(nn.Module):
    """The loss of one batch."""

    def __init__(self, model: nn.Module, precision: Precision = "fp32", seen: float = 1.0) -> None:
        """``seen`` weighs the facts of a ``Taught`` model."""
        super().__init__()
        self.model, self._precision, self._seen = model, precision, seen

    def forward(self, batch: CaptionBatch, number: int) -> tuple[Tensor, dict[str, float]]:
        """Mean cross-entropy a token, and how many tokens would have been right (``accuracy``); ``seen`` is that of the
        facts told by the eyes alone."""
        del number  # nothing is drawn
        inputs, labels = batch.inputs, batch.labels
        with torch.autocast(labels.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            made = self.model(**inputs)
        logits, facts = made if isinstance(made, tuple) else (made.logits, [])
        learned = labels[:, 1:] != IGNORED
        predicted, wanted = logits[:, :-1][learned].float(), labels[:, 1:][learned]
        loss = nn.functional.cross_entropy(predicted, wanted)
        told = {"accuracy": float((predicted.argmax(-1) == wanted).float().mean())}
        if facts:
            assert batch.codes is not None
            seen = [
                nn.functional.cross_entropy(fact.float(), codes, ignore_index=IGNORED)
                for fact, codes in zip(facts, batch.codes.T, strict=True)
                if (codes != IGNORED).any()
            ]
            # A worker's few people may show nothing that can be told; its gradients must be there all the same.
            by_eyes = torch.stack(seen).mean() if seen else torch.cat(facts, 1).sum() * 0
            told["seen"] = float(by_eyes.detach())
            loss = loss + self._seen * by_eyes
        return loss, told


@torch.no_grad()
def answers_about(
    model: Any, processor: Any, pictures: UInt8[np.ndarray, "people side side 3"], *, at_once: int = _AT_ONCE
) -> list[str]:
    """What the model answers, unconstrained and at temperature 0."""
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    begun, device, said = conversation(processor, None), next(model.parameters()).device, []
    for start in range(0, len(pictures), at_once):
        some = list(pictures[start : start + at_once])
        inputs = processor(text=[begun] * len(some), images=some, padding=True, return_tensors="pt").to(
            device
        )
        tokens = model.generate(**inputs, max_new_tokens=_LONGEST_ANSWER, do_sample=False)
        said += processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return said


def codes_told(answers: Sequence[str]) -> Int[np.ndarray, "people facts"]:
    """Categories of ``ASKED`` that the answers give; -1 where they don't."""
    told = np.full((len(answers), len(ASKED)), -1)
    for row, answer in enumerate(answers):
        codes = answered(answer)
        for column, index in enumerate(ASKED):
            fact = FACTS[index]
            if fact.name in codes:
                told[row, column] = fact.scale.names.index(codes[fact.name])
    return told


def evaluate(model: Any, processor: Any, people: Observations, side: int, *, draw: bool) -> dict[str, float]:
    """``macro_f1`` over what can be told of the people, that of always telling the most frequent category, and
    ``valid_json``, the share of answers without any fault."""
    answers = answers_about(model, processor, pictures_of(people, side, draw=draw))
    truths = Truths.of(people)
    true, counted = truths.codes[:, ASKED], truths.told[:, ASKED]
    return {
        "macro_f1": macro_f1(codes_told(answers), true, counted),
        "majority_macro_f1": macro_f1(most_frequent(true, counted), true, counted),
        "valid_json": float(np.mean([parse(answer).reason in (None, "contradiction") for answer in answers])),
    }


def most_frequent(
    true: Int[np.ndarray, "people facts"], counted: Bool[np.ndarray, "people facts"]
) -> Int[np.ndarray, "people facts"]:
    """The answer of one who doesn't look: each fact's most frequent category."""
    most = [np.bincount(true[counted[:, fact], fact], minlength=1).argmax() for fact in range(true.shape[1])]
    return np.broadcast_to(np.array(most), true.shape)
