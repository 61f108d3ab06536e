"""What ``alignhmr predict`` reads and writes, wherever the answers are made: names, checks, and words. No torch."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alignhmr.core.errors import AlignhmrError, InputError, NoPersonError
from alignhmr.core.perception.images import iter_image_files

FORMATS: tuple[str, ...] = ("json", "overlay", "glb", "obj", "npz", "bvh")
ENDINGS = {
    "json": ".json", "overlay": "_overlay.png", "glb": ".glb", "obj": ".obj", "npz": "_hypotheses.npz",
}  # fmt: skip

CONVENTIONS = {
    "pixels": "of the upright picture (EXIF orientation applied), x right, y down, origin in the top left corner",
    "camera_frame": "x right, y down, z forward; metres",
    "pose_aa": "24 SMPL joint rotations, axis-angle, radians, relative to the parent; the first is the root in"
    " the camera frame",
    "betas": "10 shape coefficients of body_model, standard deviations; another body model's differ",
    "transl_cam_m": "added to every vertex and joint of the posed model",
    "joint_spread_mm": "standard deviation over the hypotheses of each root-relative joint; larger is less certain;"
    " 0 where there is one hypothesis, which tells nothing",
    "joint_error_mm": "expected error of each root-relative joint and the two ends of its 90 % interval, calibrated on"
    " held-out people as the base model's card says; null where the base model was never calibrated",
    "score": "larger is better; comparable within one person only",
    "hypothesis_scores": "score of every hypothesis, in the order they were drawn; 0 is the noise-free one",
    "selected": "which of them is told here: from 8 on the last, the mean of the noise-free one and the best-scored",
    "expected_error_mm": "the scorer's estimate of the mean joint error",
    "error_interval_mm": "ends of the 90 % interval of that error; null where the scorer was never calibrated",
    "refinement": "null unless it was asked for; off_before and off_after: mean distances of keypoints of the"
    " unguided zero-noise answer, and of this answer, from those that were seen or given, over the crop's side;"
    " told_before and told_after: shares of what was said that those two plainly show; fell_back: hypotheses that"
    " stayed as they were drawn, by reason",
}


def expanded(photos: Sequence[Path]) -> list[Path]:
    if not photos:
        raise InputError("no photo was given; name at least one picture or folder")
    files: list[Path] = []
    for photo in map(Path, photos):
        files += iter_image_files(photo) if photo.is_dir() else [photo]
    return files


def read(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as error:
        raise InputError(f"{photo} can't be read: {error.strerror or error}; check the path") from error


def writable(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the output folder {out} can't be made: {error.strerror or error}; give another with --out"
        ) from error
    return out


def output_names(files: Sequence[Path]) -> list[str]:
    """A name for each photo's outputs: its stem, with the ending and a number where that is taken."""
    shared = Counter(file.stem for file in files)
    names: list[str] = []
    for file in files:
        wanted = file.stem if shared[file.stem] == 1 else f"{file.stem}_{file.suffix.lstrip('.')}"
        name, number = wanted, 1
        while name in names:
            number += 1
            name = f"{wanted}_{number}"
        names.append(name)
    return names


def checked_formats(formats: Sequence[str]) -> tuple[str, ...]:
    unknown = [one for one in formats if one not in FORMATS]
    if unknown or not formats:
        seen = f"format {unknown[0]!r} is unknown" if unknown else "no output format was given"
        raise InputError(f"{seen}; choose from {', '.join(FORMATS)}")
    return tuple(one for one in FORMATS if one in formats)


def checked_boxes(
    boxes: Sequence[Sequence[float]], photos: int
) -> tuple[tuple[float, float, float, float], ...]:
    if boxes and photos != 1:
        raise InputError(f"boxes were given with {photos} photos; give one photo, the boxes belong to it")
    for box in boxes:
        if len(box) != 4 or not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise InputError(f"box {list(box)} is not x0, y0, x1, y1 in pixels with x1 > x0 and y1 > y0")
    return tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in boxes)


def check_somebody(recovered: int, left_out: Sequence[str]) -> None:
    """NoPersonError where nobody was recovered: ``left_out`` says for each who was found why not."""
    if recovered == 0 and left_out:
        raise NoPersonError(
            f"{len(left_out)} found, but none could be recovered: {left_out[0]}; say where the whole person is with"
            " --box x0,y0,x1,y1"
        )
    if recovered == 0:
        raise NoPersonError("nobody was found; if there is someone, say where with --box x0,y0,x1,y1")


def raise_if_all_failed(photos: Sequence[Path], errors: Sequence[AlignhmrError | None]) -> None:
    """What became of each photo, in their order: one answer is enough."""
    failed = [error for error in errors if error is not None]
    if len(failed) < len(errors):
        return
    first = failed[0]
    if len(failed) == 1:
        raise type(first)(f"{photos[0].name}: {first}", code=first.code)
    kind = type(first) if all(type(error) is type(first) for error in failed) else InputError
    raise kind(f"none of {len(failed)} photos gave an answer; the first, {photos[0].name}: {first}")


def line(
    photo: Path, expected_error_mm: Sequence[float], left_out: Sequence[str], refined: str, seconds: float,
    files: Sequence[Path],
) -> str:  # fmt: skip
    """One line for the terminal about a photo with an answer."""
    people = len(expected_error_mm)
    expected = ", ".join(f"{error:.0f}" for error in expected_error_mm)
    skipped = f", {len(left_out)} left out ({left_out[0]})" if left_out else ""
    return (
        f"{photo.name}: {people} {'person' if people == 1 else 'people'}{skipped},"
        f" expected error {expected} mm{refined}, {seconds:.2f} s ->"
        f" {', '.join(file.name for file in files)}"
    )
