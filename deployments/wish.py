"""What made people are asked for: everything that a worker needs to draw them, and what names the drawing."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignhmr.core.synthetic.motion import Clip
from alignhmr.core.synthetic.samples import SIZE_PX, Maker
from alignhmr.deployments.version import package_version


@dataclass(frozen=True)
class Wish:
    """A domain's split and seed, and what the user brings to it."""

    domain: str
    split: str = "train"
    seed: int = 0
    size_px: int = SIZE_PX
    own_clips: tuple[Clip, ...] = ()
    photos: str | None = None

    @classmethod
    def of(
        cls, domain: str, split: str, seed: int, size_px: int, motion: Path | None, backgrounds: Path | None
    ) -> "Wish":
        """Reads the user's motion; InputError where there is none in the folder."""
        clips: tuple[Clip, ...] = ()
        if motion is not None:
            from alignhmr.core.synthetic.own_motion import load_own_clips

            clips = tuple(load_own_clips(motion))
        photos = None if backgrounds is None else str(backgrounds.resolve())
        return cls(domain, split, seed, size_px, clips, photos)

    def maker(self) -> Maker:
        """InputError for what can't be drawn."""
        return Maker(
            self.domain, self.split, self.seed, size_px=self.size_px, own_clips=list(self.own_clips),
            photos=Path(self.photos) if self.photos else None,
        )  # fmt: skip

    def identity(self, maker: Maker) -> dict[str, Any]:
        """Decides every picture, on one kind of machine."""
        return {
            "domain": self.domain,
            "split": self.split,
            "seed": self.seed,
            "size_px": self.size_px,
            "body": maker.body.name,
            "package_version": package_version(),
            "motion": _motion_digest(self.own_clips),
            "backgrounds": _files_digest(maker.photos),
        }


def _motion_digest(clips: tuple[Clip, ...]) -> str | None:
    if not clips:
        return None
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(clip.name.encode() + clip.rotations.tobytes())
    return digest.hexdigest()[:16]


def _files_digest(paths: list[Path]) -> str | None:
    if not paths:
        return None
    return hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in paths)).hexdigest()[:16]
