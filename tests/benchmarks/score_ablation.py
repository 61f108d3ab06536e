"""What each kind of evidence and each loss contributes to HMR-Scorer: short trainings that differ in one thing.

``--train`` and ``--held-out`` are folders of `alignhmr prepare` whom the base didn't learn from; the hypotheses of
everyone are drawn once, and every training sees the same people in the same order. Figures are those of `alignhmr train
scorer` (24 joints) on the base's own 20 hypotheses of the held-out people: ``srcc_group``, ``plcc_expected``,
``mpjpe_selection_gain`` of the best-scored, ``pair_precision`` of three best against three worst. ``mean_alone`` trains
nothing: nearness to the mean of the hypotheses. ``ceiling`` rates by nearness to an estimate that is so much of the way
from the zero-noise answer to the truth: what a judge would have to know for its figures.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from record import finish, prepared_folders

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import load_checkpoint, resolve
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.diffusion.pose_tokens import features_of
from alignhmr.core.metrics.ranking import spearman
from alignhmr.core.scoring.scorer import HMRScorer, ScorerConfig
from alignhmr.core.synthetic.observations import Observations
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.training.augmentation import AS_IT_IS, observe
from alignhmr.training.base_run import samplers
from alignhmr.training.fit import motion_clips
from alignhmr.training.loop import LoopConfig, Trainer, train
from alignhmr.training.mixture import Mixture
from alignhmr.training.perturbation import Perturbation
from alignhmr.training.scorer import Group, GroupSampler, ScorerLossWeights, ScorerStep, judged

OWN, PERTURBED, HYPOTHESES, AT_ONCE = 8, 4, 20, 48
EVIDENCE = ("image", "keypoints", "detector_3d", "silhouette", "proposals")
USUAL = ScorerLossWeights(image=0)
"""The eyes are held, as the starter's."""
EYES_LEARN = "eyes learn on"
LOSSES = {
    "ranked by MPJPE alone": replace(USUAL, pa_mpjpe=0, pve=0, pa_pve=0),
    "ranked by PA errors alone": replace(USUAL, mpjpe=0, pve=0, pa_mpjpe=1.0, pa_pve=0.5),
    "no expected error": replace(USUAL, error=0, joint_error=0),
    "no joint errors": replace(USUAL, joint_error=0),
    EYES_LEARN: ScorerLossWeights(),
}
QUICK = ("everything", "no image", "perturbed truths alone", "no joint errors")
CEILING = (0.0, 0.1, 0.2, 0.3, 0.5)


class Drawn:
    """Everyone's groups, as a training and as its judges see them."""

    def __init__(
        self, base: BaseModel, body: BodyModel, train: str, held_out: str, people: int, judges: int
    ) -> None:
        labels = Perturbation.drawn(samplers(body, motion_clips(), PoseMix())[0], 0)
        self.training = [
            GroupSampler(base, body, OWN, PERTURBED, perturbation=labels)(
                seen, torch.Generator().manual_seed(index)
            )
            for index, seen in enumerate(_seen(train, people, body))
        ]
        sampler = GroupSampler(base, body, HYPOTHESES, 0)
        self.judges = [
            sampler(seen, torch.Generator().manual_seed(1000 + index), drop=False)
            for index, seen in enumerate(_seen(held_out, judges, body))
        ]

    def trained(
        self, base: BaseModel, body: BodyModel, steps: int, weights: ScorerLossWeights, config: ScorerConfig,
        change: Callable[[Group], Group],
    ) -> dict[str, float]:  # fmt: skip
        """Figures of a scorer that learned from the groups as ``change`` leaves them, and is judged by such."""
        torch.manual_seed(0)
        scorer = HMRScorer(config)
        if scorer.image is not None and base.encoder.image is not None:
            scorer.image.load_state_dict(base.encoder.image.state_dict())
            scorer.image.requires_grad_(weights.image > 0)
        loop = LoopConfig(steps, weight_decay=0.05, ema_decay=0.99, warmup_steps=min(50, steps // 4))
        trainer = Trainer(scorer, scorer.parameters(), loop)
        learns = ScorerStep(scorer, GroupSampler(base, body), weights=weights)
        order = np.random.default_rng(0).integers(len(self.training), size=steps).tolist()
        groups = (change(self.training[index]) for index in order)
        train(trainer, lambda group, step: learns.losses(group), groups, lambda step, means: None)
        ema = trainer.ema
        assert isinstance(ema, HMRScorer)
        figures = judged(ema, [_own(change(group)) for group in self.judges])
        return {name: round(figures[name], 4) for name in FIGURES}


FIGURES = ("srcc_group", "plcc_expected", "mpjpe_selection_gain", "pair_precision")


def _seen(folder: str, people: int, body: BodyModel) -> Sequence[Observations]:
    mixture = Mixture([(folder, 1.0)])
    people = min(people, mixture.sources[0].rows)
    batches = []
    for k in range(people // AT_ONCE):
        seen = observe(mixture.rows(k, AT_ONCE), body, 256, torch.Generator(), AS_IT_IS)
        batches.append(replace(seen, crops=features_of(seen.crops)))
    return batches


def without(*kinds: str) -> Callable[[Group], Group]:
    """Groups of whom nobody has those kinds of evidence."""

    def change(group: Group) -> Group:
        nobody = torch.zeros(len(group.evidence), dtype=torch.bool)
        return replace(group, evidence=group.evidence.keep(**{kind: nobody for kind in kinds}))

    return change


def only(hyps: slice) -> Callable[[Group], Group]:
    """Groups with some of the hypotheses that are learned from."""

    def change(group: Group) -> Group:
        if group.joint_errors_mm.shape[1] == group.own:
            return group  # those who are judged are the base's own alone
        claim = group.claim.take(hyps)
        errors = {name: value[:, hyps] for name, value in group.errors_mm.items()}
        joint_errors = group.joint_errors_mm[:, hyps]
        own = len(range(group.own)[hyps])
        return replace(group, claim=claim, errors_mm=errors, joint_errors_mm=joint_errors, own=own)

    return change


def _own(group: Group) -> Group:
    return group


def ceiling(groups: Sequence[Group]) -> dict[str, dict[str, float]]:
    """Figures of judges that know so much of the truth, by how much nearer than zero-noise their estimate is."""
    found = {}
    for share in CEILING:
        scores, errors = [], []
        for group in groups:
            joints = group.claim.points_m[:, :, :24]
            true = group.batch.joints_m - group.batch.joints_m[:, :1]
            estimate = (1 - share) * joints[:, 0] + share * true
            scores.append(-(joints - estimate[:, None]).norm(dim=-1).mean(-1))
            errors.append(group.errors_mm["mpjpe"])
        found[f"{share:.1f}"] = _figures(torch.cat(scores), torch.cat(errors))
    return found


def mean_alone(groups: Sequence[Group]) -> dict[str, float]:
    scores = []
    for group in groups:
        joints = group.claim.points_m[:, :, :24]
        scores.append(-(joints - joints.mean(1, keepdim=True)).norm(dim=-1).mean(-1))
    return _figures(torch.cat(scores), torch.cat([group.errors_mm["mpjpe"] for group in groups]))


def _figures(scores: torch.Tensor, errors: torch.Tensor) -> dict[str, float]:
    chosen = errors.gather(1, scores.argmax(1, keepdim=True)).mean()
    zero, best = errors[:, 0].mean(), errors.min(1).values.mean()
    each = [spearman(s, -e) for s, e in zip(scores.numpy(), errors.numpy(), strict=True)]
    return {
        "srcc_group": round(float(np.mean(each)), 4),
        "mpjpe_selection_gain": round(float((zero - chosen) / (zero - best)), 4),
    }


def main() -> None:
    parser = prepared_folders(__doc__)
    parser.add_argument("--base", default="starter")
    options = parser.parse_args()
    steps, people, judges = (4, 96, 48) if options.quick else (200, 4800, 1056)
    torch.set_num_threads(1)
    body = BodyModel.load("open")
    base, _ = load_checkpoint(resolve(options.base, "base"), "base", body_digest=body.digest)
    assert isinstance(base, BaseModel)
    drawn = Drawn(base, body, options.train, options.held_out, people, judges)
    values: dict[str, object] = {
        "ceiling": ceiling(drawn.judges), "mean_alone": mean_alone(drawn.judges),
        "steps": steps, "people": len(drawn.training) * AT_ONCE, "judged_on": len(drawn.judges) * AT_ONCE,
    }  # fmt: skip
    print(values, flush=True)
    runs: dict[str, tuple[ScorerLossWeights, Callable[[Group], Group]]] = {"everything": (USUAL, without())}
    runs |= {f"no {kind}": (USUAL, without(kind)) for kind in EVIDENCE}
    runs["proposals alone"] = (USUAL, without(*(kind for kind in EVIDENCE if kind != "proposals")))
    runs["own hypotheses alone"] = (USUAL, only(slice(0, OWN)))
    runs["perturbed truths alone"] = (USUAL, only(slice(OWN, None)))
    runs |= {name: (weights, without()) for name, weights in LOSSES.items()}
    for name in QUICK if options.quick else runs:
        weights, change = runs[name]
        began = time.perf_counter()
        blind = name in ("no image", "proposals alone")
        config = ScorerConfig(image="none") if blind else ScorerConfig()
        values[name] = drawn.trained(base, body, steps, weights, config, change)
        print(name, values[name], f"{time.perf_counter() - began:.0f} s", flush=True)
    finish("score_ablation", values, quick=options.quick)


if __name__ == "__main__":
    main()
