"""What a vision-language model's answers about held-out people are worth; ``language.py`` runs it.

The classifier that it is held against sees the detector's 2D keypoints alone, in the crop, and learns from the same
people: three layers, as many answers as there are facts.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.condition import to_crop
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.language.captions import parse
from alignhmr.core.language.facts import FACTS
from alignhmr.core.metrics.classification import macro_f1
from alignhmr.core.synthetic.observations import Observations
from alignhmr.training.augmentation import AS_IT_IS, AugmentationConfig, observe
from alignhmr.training.captioner import (
    ASKED,
    Truths,
    answers_about,
    codes_told,
    most_frequent,
    pictures_of,
)
from alignhmr.training.mixture import Mixture

_STEPS, _BATCH = 1500, 128
_BLIND_PX = 32


def people_of(folder: str, body: BodyModel, count: int, side: int) -> Observations:
    mixture = Mixture([(folder, 1.0)])
    rows = mixture.rows(0, min(count, mixture.sources[0].rows))
    return observe(rows, body, side, torch.Generator(), AS_IT_IS)


def judged_answers(
    model: Any, processor: Any, people: Observations, side: int
) -> tuple[dict[str, Any], list[str]]:
    """Figures of the model, of who always says the most frequent, and of the model with less to see."""
    truths = Truths.of(people)
    true, counted = truths.codes[:, ASKED], truths.told[:, ASKED]
    pictures = pictures_of(people, side, draw=True)
    answers = answers_about(model, processor, pictures)
    black = replace(people, crops=torch.zeros_like(people.crops))
    flat = replace(people, detector_3d_m=torch.zeros_like(people.detector_3d_m))
    seen = {
        "": answers,
        "_picture_black": answers_about(model, processor, pictures_of(black, side, draw=True)),
        "_without_depth": answers_about(model, processor, pictures_of(flat, side, draw=True)),
        "_without_keypoints": answers_about(model, processor, pictures_of(people, side, draw=False)),
    }
    figures = {
        f"vlm_macro_f1{name}": macro_f1(codes_told(said), true, counted) for name, said in seen.items()
    }
    by_fact = {
        FACTS[index].name: round(macro_f1(codes_told(answers)[:, [i]], true[:, [i]], counted[:, [i]]), 2)
        for i, index in enumerate(ASKED)
    }
    return {
        "vlm_valid_json": float(np.mean([parse(one).reason in (None, "contradiction") for one in answers])),
        **figures,
        "majority_macro_f1": macro_f1(most_frequent(true, counted), true, counted),
        "vlm_unknown": float((codes_told(answers) < 0)[counted].mean()),
        "facts": by_fact,
    }, answers


def keypoint_classifier(train: str, body: BodyModel, people: Observations, *, quick: bool) -> float:
    """Macro F1 of a network that sees 2D keypoints alone."""
    truths, mixture = Truths.of(people), Mixture([(train, 1.0)])
    sizes = [len(FACTS[index].scale.names) for index in ASKED]
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(_features(people).shape[1], 512), nn.GELU(), nn.Linear(512, 512), nn.GELU(),
        nn.Linear(512, sum(sizes)),
    )  # fmt: skip
    steps = _STEPS // 20 if quick else _STEPS
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        rows = mixture.rows(step, _BATCH)
        seen = observe(
            rows, body, _BLIND_PX, torch.Generator().manual_seed(step), AugmentationConfig(erase=0.0)
        )
        wanted = Truths.of(seen)
        told = torch.from_numpy(wanted.told[:, ASKED])
        losses = [
            nn.functional.cross_entropy(
                part[told[:, i]], torch.from_numpy(wanted.codes[:, ASKED[i]])[told[:, i]]
            )
            for i, part in enumerate(network(_features(seen)).split(sizes, 1))
            if told[:, i].any()
        ]
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        answers = torch.stack([part.argmax(1) for part in network(_features(people)).split(sizes, 1)], 1)
    return macro_f1(answers.numpy(), truths.codes[:, ASKED], truths.told[:, ASKED])


def _features(people: Observations) -> torch.Tensor:
    """Places in the crop and confidences; what wasn't seen is at its middle."""
    seen = people.keypoints_px[..., 2:]
    places = to_crop(people.keypoints_px[..., :2], people.crop_px) * (seen > 0.05)
    return torch.cat([places, seen], -1).flatten(1)


@torch.no_grad()
def hypotheses(
    base: BaseModel, body: BodyModel, folder: str, count: int, hyps: int
) -> tuple[Observations, torch.Tensor, np.ndarray]:
    """The same people as ``people_of`` gives, and the base's own hypotheses: rotations and joints."""
    people = people_of(folder, body, count, base.config.crop_px)
    generator = torch.Generator().manual_seed(2)
    noise = hypothesis_noise(len(people) * hyps, generator).reshape(len(people), hyps, -1)
    drawn = [
        unpack(base.sample(people.take(slice(i, i + 32)).condition(), noise[i : i + 32]))
        for i in range(0, len(people), 32)
    ]
    rotations = torch.cat([one.rotations for one in drawn])
    betas = torch.cat([one.betas for one in drawn])
    return people, rotations, body.kinematics(rotations, betas).joints.numpy()
