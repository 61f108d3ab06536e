"""HMR-Scorer: rates hypotheses of one person without 3D labels.

It looks at what was observed with eyes of its own: heat maps, depth and features of the picture, the silhouette, the
detector's keypoints in 2D and in 3D. Much of that the generator never sees or throws away, and a judge that knows
only what the generator knew can't select better than the generator's zero-noise answer. The picture is looked at once
per person; each hypothesis is then held against it where its joints fall (ADHMR's pixel-aligned features), and its
joints confer along the kinematic tree. Heads: a score for ranking within a person (ADHMR's ranking loss), and the
expected error in mm, overall and of each joint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, PARENTS
from alignhmr.core.diffusion.attention import Layer, Layers
from alignhmr.core.diffusion.image_tokens import POINTS, ImageTokens, PointTokens
from alignhmr.core.diffusion.pose_tokens import PoseTokens
from alignhmr.core.errors import InputError
from alignhmr.core.perception.pose_features import INPUT
from alignhmr.core.scoring.evidence import Claim, Evidence

_N, _J = len(KEYPOINTS), len(JOINTS)
_HIPS = [_J + KEYPOINTS.index("left_hip"), _J + KEYPOINTS.index("right_hip")]
_LOCAL = 16
_NEAREST_JOINT = (
    "head", "head", "head", "head", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_foot", "left_foot", "left_ankle", "right_foot", "right_foot", "right_ankle",
)  # fmt: skip
"""The joint beside each keypoint."""


@dataclass(frozen=True)
class ScorerConfig:
    image: str = "blazepose"
    """What looks at pixels, "blazepose" or "efficientnet-lite0", or "none"."""
    crop_px: int = 256
    """Side of the picture that it sees: 256 for BlazePose, a multiple of 32 for EfficientNet-Lite0."""
    train_image: bool = True
    """False holds what looks at pixels as it was lent or pretrained."""
    eyes_width: int = 64
    """Channels of the layers that learn on top of BlazePose's; the base's lend their weights if they are alike."""
    eyes_blocks: int = 1
    token_width: int = 48
    heads: int = 4
    hops: Sequence[int] = field(default_factory=lambda: [6, 2])
    """How far a joint sees along the kinematic tree, in each layer of attention."""
    width: int = 320
    blocks: int = 2


@dataclass(frozen=True)
class Seen:
    """Evidence as it is held against hypotheses; made once per person."""

    evidence: Evidence
    points: Float[Tensor, "people points 3"]
    """The picture's own idea of each point: place over the crop and depth behind the root; zeros without one."""
    spread: Float[Tensor, "people points"]
    maps: Float[Tensor, "people maps rows columns"]
    """Log-probabilities of the heat maps, their depths, then features; zeros without a picture."""
    vector: Float[Tensor, "people width"]


@dataclass(frozen=True)
class Rating:
    """What the scorer makes of each hypothesis."""

    score: Float[Tensor, "people hyps"]
    """Larger is better; comparable within one person only."""
    error_mm: Float[Tensor, "people hyps"]
    """Expected MPJPE."""
    joint_error_mm: Float[Tensor, "people hyps 24"]
    """Expected error of each root-relative joint."""


class HMRScorer(nn.Module):
    """(evidence, claim) -> what it makes of each hypothesis."""

    reach: Tensor

    def __init__(self, config: ScorerConfig | None = None) -> None:
        """With random weights. InputError for parts or sizes that don't exist."""
        super().__init__()
        self.config = c = config or ScorerConfig()
        self.image = _image(c)
        extra = 0
        if self.image is not None:
            self.features = nn.Conv2d(self.image.fine_width, _LOCAL, 1)
            self.from_whole = nn.Linear(self.image.whole_width, c.width)
            extra = _LOCAL
        self.from_look = nn.Linear(3, c.width)
        self.missing = nn.Parameter(torch.zeros(6, c.width))
        self.token_in = nn.Linear(_TOKEN_SIZE + extra, c.token_width)
        self.identity = nn.Parameter(torch.randn(POINTS, c.token_width) * 0.1)
        self.to_token = nn.Linear(c.width, c.token_width)
        self.layers = Layers([Layer(c.token_width, c.heads, 2 * c.token_width) for _ in c.hops])
        self.register_buffer("reach", torch.stack([_within(hop) for hop in c.hops]), persistent=False)
        self.token_out = nn.Linear(c.token_width, _LOCAL)
        self.join = nn.Linear(POINTS * _LOCAL + 154, c.width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(c.width), nn.Linear(c.width, c.width), nn.GELU(), nn.Linear(c.width, c.width)
            )
            for _ in range(c.blocks)
        )
        self.head = nn.Linear(c.width, 2 + _J)

    @property
    def sees_pixels(self) -> bool:
        return self.image is not None

    @property
    def reads_features(self) -> bool:
        """Whether ``pose_tokens.features_of`` may stand in for crops."""
        return isinstance(self.image, PoseTokens)

    def forward(self, evidence: Evidence, claim: Claim) -> Rating:
        return self.rate(self.look(evidence), claim)

    def look(self, evidence: Evidence, tokens: ImageTokens | None = None) -> Seen:
        """Once per person, however many hypotheses are rated; ``tokens`` as in ``look_closely``."""
        return self.look_closely(evidence, tokens)[0]

    def look_closely(
        self, evidence: Evidence, tokens: ImageTokens | None = None
    ) -> tuple[Seen, ImageTokens | None]:
        """With what the image encoder answered about the pictures, which it learns from.

        ``tokens`` are that answer where it is known: held eyes see what those saw that lent them their weights.
        """
        condition = evidence.condition
        if self.image is None:
            condition = condition.without("image")
        has = torch.stack(
            [
                condition.has_image, condition.has_keypoints, condition.has_look, evidence.has_detector_3d,
                evidence.has_silhouette, evidence.has_proposals,
            ],
            -1,
        )  # fmt: skip
        vector = self.from_look(condition.look) + (~has).to(self.missing.dtype) @ self.missing
        people, rows = len(evidence), 1
        points, spread = vector.new_zeros(people, POINTS, 3), vector.new_zeros(people, POINTS)
        maps = vector.new_zeros(people, 2 * POINTS + _LOCAL if self.image is not None else 0, rows, rows)
        seen = None
        if self.image is not None and len(condition.crops):
            seen = self.image(condition.crops, condition.of_pictures()) if tokens is None else tokens
            index = condition.has_image.nonzero()[:, 0]
            sure = seen.heat.flatten(-2).log_softmax(-1).view_as(seen.heat).clamp_min(-12)
            stacked = torch.cat([sure, seen.depth, nn.functional.gelu(self.features(seen.fine))], 1)
            maps = stacked.new_zeros(people, *stacked.shape[1:]).index_copy(0, index, stacked)
            points = points.index_copy(0, index, seen.points)
            spread = spread.index_copy(0, index, seen.spread)
            vector = vector.index_add(0, index, self.from_whole(seen.whole))
        return Seen(evidence, points, spread, maps, vector), seen

    def rate(self, seen: Seen, claim: Claim) -> Rating:
        """Each hypothesis by itself: what the others are doesn't matter."""
        people, hyps = claim.betas.shape[:2]
        tokens = self.token_in(self._tokens(seen, claim)) + self.identity
        tokens = tokens + self.to_token(seen.vector)[:, None, None]
        sees = [mask[None] for mask in self.reach]
        tokens = self.layers(nn.functional.gelu(tokens).flatten(0, 1), sees)
        flat = nn.functional.gelu(self.token_out(tokens)).reshape(people, hyps, -1)
        hidden = self.join(torch.cat([flat, claim.sixd, claim.betas], -1)) + seen.vector[:, None]
        for block in self.blocks:
            hidden = hidden + block(hidden)
        out = self.head(hidden)
        joints = 100 * nn.functional.softplus(out[..., 2:])
        joints = torch.cat([torch.zeros_like(joints[..., :1]), joints[..., 1:]], -1)
        return Rating(out[..., 0], 100 * nn.functional.softplus(out[..., 1]), joints)

    def _tokens(self, seen: Seen, claim: Claim) -> Float[Tensor, "people hyps points features"]:
        """Per point: what is claimed, what was observed, and how they differ (x 5, to be of order 1)."""
        evidence = seen.evidence
        hyps = claim.betas.shape[1]

        def spread(value: Tensor) -> Tensor:
            return value[:, None].expand(-1, hyps, *value.shape[1:])

        def flag(has: Tensor) -> Tensor:
            return has.to(claim.betas.dtype)[:, None, None, None].expand(-1, hyps, POINTS, 1)

        xy, points = claim.places, claim.points_m
        parts = [xy, points]

        # What the picture says where each point is claimed to be, and where it would have looked for it.
        has_image = flag(evidence.condition.has_image & (seen.maps.shape[1] > 0))
        off = (xy - spread(seen.points[..., :2])) * has_image
        deeper = (points[..., 2:] - spread(seen.points[..., 2:])) * has_image
        parts += [has_image, spread(seen.points), spread(seen.spread[..., None]), 5 * off]
        parts += [5 * off.norm(dim=-1, keepdim=True), 5 * deeper]
        if seen.maps.shape[1]:
            sampled = _at(seen.maps, xy)
            own = torch.arange(POINTS, device=xy.device)
            likely, depth = sampled[..., own, own, None], sampled[..., own, POINTS + own, None]
            parts += [likely / 4, 5 * (points[..., 2:] - depth) * has_image, sampled[..., 2 * POINTS :]]
        else:
            parts += [torch.zeros_like(has_image)] * 2

        # The detector's keypoints in the picture, and its own in space, about the hips.
        nothing = xy.new_zeros(*xy.shape[:2], _J, 1)
        observed = spread(evidence.condition.keypoints)
        sure = observed[..., 2:]
        was_seen = (sure > 0).to(sure.dtype)
        off = (xy[..., _J:, :] - observed[..., :2]) * was_seen
        found = torch.cat([observed, 5 * off, 5 * off.norm(dim=-1, keepdim=True) * sure], -1)
        parts.append(torch.cat([nothing.expand(-1, -1, -1, found.shape[-1]), found], -2))
        about_hips = points[..., _J:, :] - points[..., _HIPS, :].mean(-2, keepdim=True)
        has_3d = flag(evidence.has_detector_3d)
        apart = (about_hips - spread(evidence.detector_3d_m)) * has_3d[..., _J:, :]
        found = torch.cat(
            [spread(evidence.detector_3d_m), 5 * apart, 5 * apart.norm(dim=-1, keepdim=True)], -1
        )
        parts += [torch.cat([nothing.expand(-1, -1, -1, found.shape[-1]), found], -2), has_3d]

        parts += [_at(evidence.silhouettes[:, None], xy), flag(evidence.has_silhouette)]

        # What the generator believes, and how sure it is: in metres, and in its own measure.
        has_proposals = flag(evidence.has_proposals)
        apart = (points - spread(evidence.proposed_m)) * has_proposals
        unsure = spread(evidence.unsure_m[..., None])
        far = apart.norm(dim=-1, keepdim=True)
        parts += [5 * apart, 5 * far, far / (unsure + 0.02), 5 * unsure, has_proposals]
        return torch.cat(parts, -1)


_TOKEN_SIZE = 2 + 3 + (1 + 3 + 1 + 2 + 1 + 1) + 2 + (3 + 2 + 1) + (3 + 3 + 1) + 1 + 2 + (3 + 1 + 1 + 1 + 1)


def _at(
    maps: Float[Tensor, "people maps rows columns"], xy: Float[Tensor, "people hyps points 2"]
) -> Float[Tensor, "people hyps points maps"]:
    """The maps where the points fall; zeros beside the crop."""
    return nn.functional.grid_sample(maps, xy, align_corners=False).permute(0, 2, 3, 1)


def _image(c: ScorerConfig) -> PointTokens | PoseTokens | None:
    if c.image == "none":
        return None
    if c.image == "blazepose":
        if c.crop_px != INPUT:
            raise InputError(f"BlazePose looks at crops of {INPUT} px, not of {c.crop_px}")
        return PoseTokens(c.eyes_width, c.eyes_blocks)
    if c.image != "efficientnet-lite0":
        raise InputError(
            f"unknown image encoder {c.image!r} of a scorer; choose blazepose, efficientnet-lite0 or none"
        )
    if c.crop_px % 32 or c.crop_px <= 0:
        raise InputError(f"crops of {c.crop_px} px don't divide into strides of 32; give a multiple of 32")
    return PointTokens(c.crop_px, trained=c.train_image)


def _within(hops: int) -> Bool[Tensor, "points points"]:
    """Which points are at most so many bones apart; a keypoint is one bone from the joint beside it."""
    if hops < 1:
        raise InputError(f"{hops} hops let a joint see nothing but itself; give 1 or more")
    step = torch.eye(POINTS)
    bones = [(joint, parent) for joint, parent in enumerate(PARENTS) if parent >= 0]
    bones += [(_J + index, JOINTS.index(name)) for index, name in enumerate(_NEAREST_JOINT)]
    for one, other in bones:
        step[one, other] = step[other, one] = 1
    near = torch.eye(POINTS)
    for _ in range(hops):
        near = (near @ step).clamp(max=1)
    return near > 0


def ranking_loss(
    scores: Float[Tensor, "people hyps"], errors_mm: Float[Tensor, "people hyps"], tie_mm: float = 10.0
) -> Float[Tensor, ""]:
    """Pairwise logistic ranking within each person (ADHMR's L_rank, sigma = 5).

    The target of a pair is (1 + clip(difference / tie_mm, -1, 1)) / 2: hypotheses closer than ``tie_mm`` are
    nearly a tie, so that the scorer isn't asked to tell apart what can't be told apart.
    """
    difference = scores[:, :, None] - scores[:, None, :]
    better = (errors_mm[:, None, :] - errors_mm[:, :, None]) / tie_mm
    target = (1 + better.clamp(-1, 1)) / 2
    loss = nn.functional.binary_cross_entropy_with_logits(5 * difference, target, reduction="none")
    upper = torch.triu(torch.ones_like(loss[0], dtype=torch.bool), diagonal=1)
    return loss[:, upper].mean()
