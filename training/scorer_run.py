"""A scorer's run: its data and the base whose hypotheses it learns to rank, its first weights, and its course."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import file_digest, load_checkpoint, resolve
from alignhmr.core.diffusion.encoder import ImageEncoder
from alignhmr.core.diffusion.image_tokens import PointTokens
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.perception.assets import fetch
from alignhmr.core.scoring.scorer import HMRScorer
from alignhmr.core.synthetic.motion import Clip
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.training import scorer as scorer_training
from alignhmr.training.augmentation import AS_IT_IS, observe
from alignhmr.training.base_batches import (
    SMALLEST_PX,
    MixedBatches,
    ObservationBatches,
    PictureBatches,
    Rows,
)
from alignhmr.training.base_run import data_of, opened, samplers
from alignhmr.training.course import Course, Judged
from alignhmr.training.held_out import HeldOut
from alignhmr.training.looks import Looks, looks_for
from alignhmr.training.loop import Step, Trainer
from alignhmr.training.mixture import Mixture, OpenLocation, local_folder
from alignhmr.training.perturbation import Perturbation
from alignhmr.training.prefetch import made_ahead
from alignhmr.training.recipe import ScorerRecipe
from alignhmr.training.workplace import Workplace

_JUDGED_SEED = 99


@dataclass(frozen=True)
class ScorerPlan:
    """Everything that a run depends on."""

    recipe: ScorerRecipe
    clips: tuple[Clip, ...]
    base: str = "starter"
    """The base model whose hypotheses are ranked."""
    data: tuple[tuple[str, float], ...] = ()
    held_out: str | None = None
    """Folder of prepared people to be judged by; without, it is simulated detections of held-out motion."""
    open_location: OpenLocation = local_folder
    body: str = "open"
    seed: int = 0
    minutes: float | None = None
    preset: str = ""
    threads: int = 1
    looks: str | None = None
    """Folder for features of eyes that never learn; None works them out each time."""
    makers: int = 0
    """Processes of each worker that make its batches; 0 leaves them to a thread."""

    def open(self) -> "ScorerRun":
        body, mixture, judges = opened(self)
        return ScorerRun.with_data(
            self.recipe, self.clips, body, mixture, judges, base=self.base, seed=self.seed, minutes=self.minutes,
            preset=self.preset, looks=self.looks, makers=self.makers,
        )  # fmt: skip


@dataclass(frozen=True)
class ScorerRun:
    """A plan whose data are open and belong together."""

    recipe: ScorerRecipe
    body: BodyModel
    base: BaseModel
    training: ObservationSampler
    held_out: ObservationSampler
    mixture: Mixture | None
    judges: HeldOut | None
    seed: int
    minutes: float | None
    about: dict[str, Any]
    looks: str | None = None
    makers: int = 0

    kind = "scorer"

    @classmethod
    def with_data(
        cls, recipe: ScorerRecipe, clips: tuple[Clip, ...], body: BodyModel, mixture: Mixture | None,
        judges: HeldOut | None, *, base: str = "starter", seed: int = 0, minutes: float | None = None,
        preset: str = "", looks: str | None = None, makers: int = 0,
    ) -> "ScorerRun":  # fmt: skip
        """Without a mixture the scorer sees no pixels, whatever the recipe says: nothing would teach it to."""
        base_path = resolve(base, "base")
        base_model, _ = load_checkpoint(base_path, "base", body_digest=body.digest)
        assert isinstance(base_model, BaseModel)
        training, held_out, about = samplers(body, clips, recipe.poses)
        about |= {"seed": seed, "preset": preset, "base": f"{base_path.stem}:{file_digest(base_path)}"}
        about |= data_of(mixture, judges, body)
        if mixture is None:
            recipe = recipe.blind()
        return cls(
            recipe, body, base_model, training, held_out, mixture, judges, seed, minutes, about, looks, makers
        )  # fmt: skip

    def first_model(self) -> HMRScorer:
        """New weights, but for eyes: those of the base, if they are of one kind, or what was pretrained."""
        torch.manual_seed(self.seed)
        scorer = HMRScorer(self.recipe.model)
        if scorer.image is not None:
            theirs = self.base.encoder.image
            if theirs is not None and _alike(theirs, scorer.image):
                scorer.image.load_state_dict(theirs.state_dict())
            elif isinstance(scorer.image, PointTokens):
                scorer.image.backbone.read(fetch("backbone") / "efficientnet-lite0.pth")
        return scorer

    def course(self, place: Workplace, first: Callable[[], nn.Module]) -> Course:
        recipe, device = self.recipe, place.device
        people = recipe.sightings if self.mixture is not None else 0
        rows = Rows.shared(people, recipe.batch_size, place.rank, place.world)

        def there() -> tuple[BaseModel, BodyModel]:
            return copy.deepcopy(self.base).to(device), copy.deepcopy(self.body).to(device)

        def build() -> tuple[Trainer, Step]:
            scorer = first().to(device)
            assert isinstance(scorer, HMRScorer)
            scorer.train().requires_grad_(True)
            slow = []
            if scorer.image is not None:
                lent = _alike(self.base.encoder.image, scorer.image)
                held = lent and not recipe.model.train_image
                for parameter in scorer.image.parameters() if held else scorer.image.frozen():
                    parameter.requires_grad_(False)
                slow = list(scorer.image.parameters()) if lent else scorer.image.pretrained()
            trainer = Trainer(scorer, scorer.parameters(), recipe.loop, slow)
            wrong = Perturbation.drawn(self.training, self.seed)
            groups = scorer_training.GroupSampler(*there(), recipe.own, recipe.perturbed, recipe.drop, wrong)
            return trainer, scorer_training.ScorerStep(scorer, groups, self.seed, recipe.losses, rows)

        def judge(model: nn.Module, people: int, hypotheses: int) -> Judged:
            assert isinstance(model, HMRScorer)
            batch = self._judges(model, people)
            return Judged(scorer_training.evaluate(model, *there(), batch, hyps=hypotheses))

        return Course(
            self.kind, recipe, build, lambda start: self._batches(start, place), judge, self.body, self.about,
            minutes=self.minutes, people=people + recipe.batch_size,
            pictures=people if recipe.model.image != "none" else 0,
        )  # fmt: skip

    def _batches(self, start: int, place: Workplace) -> Iterator[Observations]:
        recipe = self.recipe
        simulated = ObservationBatches(self.training, recipe.batch_size, self.seed, place.rank, place.world)
        if self.mixture is None:
            return made_ahead(simulated, start, self.makers)
        pictures = PictureBatches(
            self.mixture, self.body, recipe.sightings, self._crop_px(), recipe.augmentation, self._looks()
        )
        return made_ahead(MixedBatches(simulated, pictures), start, self.makers)

    def _looks(self) -> Looks | None:
        """Where everyone who looks has eyes that never learn."""
        eyes = {self.recipe.model.image, self.base.config.image} - {"none"}
        if len(eyes) != 1 or self.mixture is None:
            return None
        return looks_for(eyes.pop(), self.looks, self.mixture)

    def _crop_px(self) -> int:
        """Of crops that scorer and base both look at, each at its own size."""
        sides = [self.recipe.model.crop_px] if self.recipe.model.image != "none" else []
        sides += [self.base.config.crop_px] if self.base.sees_pixels else []
        return max(sides, default=SMALLEST_PX)

    def _judges(self, scorer: HMRScorer, people: int) -> Observations:
        if self.judges is None:
            return self.held_out.sample(people, torch.Generator().manual_seed(_JUDGED_SEED))
        return observe(
            self.judges.sightings[:people], self.body, self._crop_px(), torch.Generator(), AS_IT_IS
        )


def _alike(one: ImageEncoder | None, other: ImageEncoder) -> bool:
    """Whether both are of a kind, look at pictures of one size, and weights of the one fit the other."""
    if not isinstance(one, type(other)):
        return False
    shapes, theirs = (
        {name: value.shape for name, value in each.state_dict().items()} for each in (one, other)
    )
    return one.patches == other.patches and shapes == theirs
