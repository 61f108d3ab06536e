"""How text and pose come to share a space: a pose VQ-VAE, and a symmetric contrastive loss between pose and caption.

Poses are drawn without end (mocap, recombined, procedural; a level or tilted camera), their posecodes computed, and
each is told in a random choice of the trained wordings with a random share left out. Clauses recur, so that their
features are looked up in a table (``ClauseTable``) that the frozen text encoder filled once.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.geometry.rotations import geodesic_angle
from alignhmr.core.language.codebook import Codebook
from alignhmr.core.language.facts import FACTS, INDEX, MOST
from alignhmr.core.language.lexicon import HELD_OUT, WORDINGS, WORDS, clause
from alignhmr.core.language.matching import matched, shares_of, told_evidence
from alignhmr.core.language.pose_vqvae import Coded, joints_of
from alignhmr.core.language.posecodes import posecodes, said, said_mask
from alignhmr.core.language.reading import read
from alignhmr.core.language.retrieval import recalls
from alignhmr.core.language.text_encoder import TextEncoder
from alignhmr.core.language.text_pose import TextPose
from alignhmr.core.language.writing import STYLES, UNSEEN, omitted, whole, write
from alignhmr.core.metrics.positions import mpjpe_mm
from alignhmr.core.synthetic.poses import PoseSampler, view_rotations
from alignhmr.training.workers import first_of_workers, gathered, mean_over_workers

_TRAINED = WORDINGS - HELD_OUT
_NOUN_STEPS = (0, 1, 3)
"""Each wording meets so many of the nouns, by how far they stand from it: to encode all 8 x 8 takes five minutes."""
_WHOLE = 0.4
"""Share of captions from which nothing is left out."""
_LEAST = 0.12
"""Smallest share of a caption's clauses that stays, of the others."""
_LEAST_STD = 1e-3
_NOISE = 0.7
"""On the features of clauses, in their standard deviations: wordings that were never met lie beside those that were."""
_BOTH = 0.4
"""Share of captions that tell once what is true of both sides."""


@dataclass(frozen=True)
class TextPoseLossWeights:
    joints: float = 10.0
    """Of the mean distance of joints in metres."""
    rotations: float = 1.0
    commitment: float = 0.25
    contrast: float = 0.2


class ClauseTable:
    """Every clause that captions are trained on, and its features."""

    def __init__(self, encoder: TextEncoder) -> None:
        shape = (2, len(FACTS), MOST, len(_NOUN_STEPS), _TRAINED)
        self.ids = np.zeros(shape, np.int64)
        """[0: told of one side or of none, 1: of both]; 0 where there is no such clause, which is also the padding."""
        known: dict[str, int] = {"": 0}
        for both, index, step, wording in itertools.product(
            range(2), range(len(FACTS)), range(len(_NOUN_STEPS)), range(_TRAINED)
        ):
            fact, noun = FACTS[index], (wording + _NOUN_STEPS[step]) % _TRAINED
            if both and not (fact.side == "left" and WORDS[fact.stem].both):
                continue
            for category in WORDS[fact.stem].predicates:
                told = clause(fact.stem, category, "both" if both else fact.side, noun, wording)
                number = known.setdefault(told, len(known))
                self.ids[both, index, fact.scale.names.index(category), step, wording] = number
        # Row 0 is the padding.
        self.features = torch.cat([torch.zeros(1, encoder.size), encoder(list(known)[1:])])

    def describe(self, model: TextPose) -> None:
        """Tells the model mean and deviation of the clauses' features."""
        model.text_mean.copy_(self.features[1:].mean(0))
        model.text_std.copy_(self.features[1:].std(0).clamp_min(_LEAST_STD))


@dataclass(frozen=True)
class TextPoseBatch:
    rotations: Float[Tensor, "batch 24 3 3"]
    """Joint 0 is the root in the camera frame."""
    clauses: Int[Tensor, "batch most"]
    """Rows of the clause table; 0 is none."""

    def to(self, device: str | torch.device) -> "TextPoseBatch":
        return TextPoseBatch(self.rotations.to(device), self.clauses.to(device))


def draw_poses(sampler: PoseSampler, count: int, generator: torch.Generator) -> Float[Tensor, "count 24 3 3"]:
    """Poses as cameras see them."""
    poses = sampler.sample(count, generator)
    poses[:, 0] = view_rotations(count, generator) @ poses[:, 0]
    return poses


def joints_np(body: BodyModel, rotations: Float[Tensor, "count 24 3 3"]) -> Float[np.ndarray, "count 24 3"]:
    """Joints of the mean body."""
    return body.kinematics(rotations, torch.zeros(len(rotations), 10)).joints.numpy()


@dataclass(frozen=True)
class TextPoseBatches:
    """A worker's rows of each batch; batch k follows from seed and k alone."""

    sampler: PoseSampler
    body: BodyModel
    table: ClauseTable
    size: int
    seed: int
    rank: int = 0
    world: int = 1

    def __call__(self, k: int) -> TextPoseBatch:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + k)
        poses = draw_poses(self.sampler, self.size, generator)
        rng = np.random.default_rng([self.seed, k])
        clauses = caption_clauses(posecodes(joints_np(self.body, poses)).codes, self.table, rng)
        mine = slice(self.rank * self.size // self.world, (self.rank + 1) * self.size // self.world)
        return TextPoseBatch(poses[mine], torch.from_numpy(clauses)[mine])


def caption_clauses(
    codes: Int[np.ndarray, "batch facts"], table: ClauseTable, rng: np.random.Generator
) -> Int[np.ndarray, "batch most"]:
    """A random caption of each pose, as rows of the table."""
    count, facts = codes.shape
    share = np.where(rng.random(count) < _WHOLE, 1.0, rng.uniform(_LEAST, 1.0, count))
    told = said_mask(codes)
    kept = told & (rng.random(codes.shape) < share[:, None])
    # Where nothing stayed, everything does.
    kept = np.where(kept.any(1, keepdims=True), kept, told)
    noun = rng.integers(len(_NOUN_STEPS), size=(count, facts))
    wording = rng.integers(_TRAINED, size=(count, facts))
    column = np.arange(facts)
    ids = np.where(kept, table.ids[0, column, codes, noun, wording], 0)
    together = rng.random(count) < _BOTH
    same = kept[:, _LEFT] & kept[:, _RIGHT] & (codes[:, _LEFT] == codes[:, _RIGHT]) & together[:, None]
    of_both = table.ids[1, _LEFT, codes[:, _LEFT], noun[:, _LEFT], wording[:, _LEFT]]
    same &= of_both > 0
    ids[:, _LEFT] = np.where(same, of_both, ids[:, _LEFT])
    ids[:, _RIGHT] = np.where(same, 0, ids[:, _RIGHT])
    order = np.argsort(ids == 0, axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, 1)
    return ids[:, : max(1, int((ids > 0).sum(1).max()))]


_LEFT = np.array([INDEX[fact.name] for fact in FACTS if fact.side == "left"])
_RIGHT = np.array([INDEX[f"right_{fact.stem}"] for fact in FACTS if fact.side == "left"])


class TextPoseStep(nn.Module):
    """One step's loss; the codebooks learn beside it."""

    def __init__(self, model: TextPose, table: ClauseTable, seed: int, weights: TextPoseLossWeights) -> None:
        super().__init__()
        self.model, self.weights, self._seed = model, weights, seed
        self._features = table.features

    def forward(self, batch: TextPoseBatch, number: int) -> tuple[Tensor, dict[str, float]]:
        model, weights = self.model, self.weights
        coded = model.vqvae(batch.rotations)
        rest = model.rest_joints
        off = joints_of(coded.rotations, rest) - joints_of(batch.rotations, rest)
        joints = off.norm(dim=-1).mean()
        turned = (coded.rotations - batch.rotations).square().sum((-1, -2)).mean()
        commitment = (coded.latents - coded.quantised.detach()).square().mean()
        contrast = self._contrast(coded, batch, number)
        dead = self._learn_codes(coded, number)
        loss = (
            weights.joints * joints + weights.rotations * turned + weights.commitment * commitment
            + weights.contrast * contrast
        )  # fmt: skip
        return loss, {
            "mpjpe_mm": 1000 * float(joints.detach()), "contrast": float(contrast.detach()),
            "commitment": float(commitment.detach()), "dead_codes": dead,
        }  # fmt: skip

    def _contrast(self, coded: Coded, batch: TextPoseBatch, number: int) -> Tensor:
        """Symmetric cross entropy over the batch, all workers' rows included (InfoNCE; CLIP, Radford et al. 2021)."""
        self._features = self._features.to(batch.clauses.device)
        # Each clause once: a batch has three times as many clauses as there are different ones.
        used, places = torch.unique(batch.clauses, return_inverse=True)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        noise = torch.randn(len(used), self._features.shape[1], generator=generator).to(used.device)
        features = self._features[used] + _NOISE * self.model.text_std * noise
        values = self.model.values_of_clauses(features) * (used > 0)[:, None]
        total = nn.functional.embedding_bag(places, values, mode="sum")
        texts = self.model.place_of_sum(total, (batch.clauses > 0).sum(1))
        poses = self.model.place_of_coded(coded)
        return contrastive_loss(gathered(texts), gathered(poses), self.model.log_scale)

    @torch.no_grad()
    def _learn_codes(self, coded: Coded, number: int) -> float:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        dead = 0
        for codebook, vectors, indices in zip(
            self.model.vqvae.levels(), coded.left_over, coded.indices, strict=True
        ):
            assert isinstance(codebook, Codebook)
            tally = mean_over_workers(codebook.tally(vectors, indices))
            flat = vectors.flatten(0, -2)
            drawn = torch.randint(len(flat), (len(codebook.vectors),), generator=generator).to(flat.device)
            dead += int(codebook.learn(tally, first_of_workers(flat[drawn])))
        return float(dead)


_MOST_SCALE = 4.6
"""Logarithm of 100: beyond it the loss is about rounding."""


def contrastive_loss(
    texts: Float[Tensor, "batch space"], poses: Float[Tensor, "batch space"], log_scale: Tensor
) -> Tensor:
    """Mean of the two cross entropies; log(batch) where nothing is known."""
    found = texts @ poses.T * log_scale.clamp(max=_MOST_SCALE).exp()
    own = torch.arange(len(texts), device=texts.device)
    return 0.5 * (nn.functional.cross_entropy(found, own) + nn.functional.cross_entropy(found.T, own))


@torch.no_grad()
def evaluate(model: TextPose, poses: Float[Tensor, "count 24 3 3"], body: BodyModel) -> dict[str, float]:
    """Reconstruction, use of the codebooks, and retrieval with wordings that were never trained on.

    ``mean_recall`` is the mean over both unseen styles by both witnesses (``matching.py``), ``..._space`` and
    ``..._reading`` by one of them, with nothing left out; ``..._half`` with half. Of wordings that training hasn't, the
    reader's lexicon knows nothing either.
    """
    model = model.eval()
    device = model.rest_joints.device
    parts = [model.vqvae(chunk) for chunk in poses.to(device).split(512)]
    places = torch.cat([model.place_of_coded(part) for part in parts]).cpu()
    rotations = torch.cat([part.rotations for part in parts]).cpu()
    indices = torch.cat([part.indices for part in parts], 1).cpu()
    rest = model.rest_joints.cpu()
    figures = {
        "vqvae_mpjpe_mm": float(mpjpe_mm(joints_of(rotations, rest), joints_of(poses, rest)).mean()),
        "vqvae_angle_deg": float(torch.rad2deg(geodesic_angle(rotations, poses)).mean()),
        "codebook_use": float(np.mean([len(level.unique()) / model.config.codes for level in indices])),
    }
    codes = posecodes(joints_np(body, poses))
    common, rng = shares_of(codes), np.random.default_rng(0)
    for keep, name in ((1.0, ""), (0.5, "_half")):
        by_style: list[dict[str, float]] = []
        for style in UNSEEN:
            said_of = [said(codes[index].categories()) for index in range(len(poses))]
            texts = [whole(write(omitted(told, keep, rng), STYLES[style], rng)) for told in said_of]
            cosines = model.place_of_text(texts, wordings=_TRAINED).cpu() @ places.T
            told = [read(text, wordings=_TRAINED).codes for text in texts]
            evidence = torch.from_numpy(np.stack([told_evidence(one, codes, common) for one in told]))
            found = recalls(matched(evidence, cosines))
            found |= {
                "mean_recall_space": recalls(cosines)["mean_recall"],
                "mean_recall_reading": recalls(evidence)["mean_recall"],
            }
            by_style.append(found)
        means = {f"{key}{name}": float(np.mean([found[key] for found in by_style])) for key in by_style[0]}
        figures |= {key: value for key, value in means.items() if not name or key.startswith("mean_recall")}
    return figures
