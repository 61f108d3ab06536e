"""Features that are kept: the same whoever asks, made once, and whole."""

from pathlib import Path

import pytest
import torch

from alignhmr.core.perception import pose_features
from alignhmr.core.perception.pose_features import MAPS, SIZE
from alignhmr.training import looks as looks_module
from alignhmr.training.augmentation import AS_IT_IS, AugmentationConfig, observe
from alignhmr.training.base_batches import PictureBatches
from alignhmr.training.looks import Looks, looks_for
from alignhmr.training.mixture import Mixture

PLAIN = AugmentationConfig(variants=2, feature_loss=0.0, feature_gain=0.0)


@pytest.fixture
def batches(body, made, tmp_path: Path):
    folder = made.write_people(tmp_path / "people", made.seen_people(body, 6))
    mixture = Mixture([(folder, 1.0)])

    def of(config: AugmentationConfig = PLAIN) -> PictureBatches:
        return PictureBatches(mixture, body, 4, 256, config, Looks(tmp_path / "looks", mixture.digest))

    return of


def test_a_look_is_what_the_crop_shows(body, batches, tmp_path: Path) -> None:
    people = batches().mixture.rows(0, 2)
    looks = Looks(tmp_path / "plain", "any")
    kept = looks.observed(people, body, torch.Generator().manual_seed(0), AS_IT_IS, first=0, of=2)
    seen = observe(people, body, 256, torch.Generator().manual_seed(0), AS_IT_IS)
    pixels = seen.crops.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    assert torch.equal(kept.crops[:, :, 0, 0], torch.from_numpy(pose_features.pose_features(list(pixels))))
    assert torch.equal(kept.crop_px, seen.crop_px) and torch.equal(kept.rotations, seen.rotations)


def test_it_is_worked_out_once_and_the_same_ever_after(batches, tmp_path: Path, monkeypatch) -> None:
    first = batches().at(0, 0)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "looks").rglob("*") if path.is_file()}
    assert len(files) == 4 and all(path.stat().st_size == 2 * SIZE for path in files)

    def never(_):
        raise AssertionError("looked again")

    monkeypatch.setattr(looks_module, "pose_features", never)
    again = batches().at(0, 0)
    assert torch.equal(first.crops, again.crops) and torch.equal(first.rotations, again.rotations)


def test_a_person_is_shown_in_so_many_ways_and_no_more(batches, tmp_path: Path) -> None:
    for k in range(30):
        batches().at(k, 0)
    assert len([path for path in (tmp_path / "looks").rglob("*") if path.is_file()]) == 6 * 2


def test_a_file_cut_short_is_made_again(batches, tmp_path: Path) -> None:
    first = batches().at(0, 0)
    [broken, *_] = [path for path in (tmp_path / "looks").rglob("*") if path.is_file()]
    broken.write_bytes(broken.read_bytes()[:100])
    assert torch.equal(batches().at(0, 0).crops, first.crops) and broken.stat().st_size == 2 * SIZE


@pytest.mark.parametrize("config", [PLAIN, AugmentationConfig(variants=2, simulated=0.5)])
def test_workers_share_a_batch(batches, config: AugmentationConfig) -> None:
    whole = batches(config).at(3, 0)
    shares = [batches(config).at(3, 0, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([share.crops for share in shares]), whole.crops)
    keypoints = torch.cat([share.keypoints_px for share in shares])
    torch.testing.assert_close(keypoints, whole.keypoints_px, rtol=1e-4, atol=1e-2)


def test_silent_channels_are_silent_everywhere_and_points_never_change(batches) -> None:
    plain = batches().at(0, 0).crops.flatten(1)
    changed = (
        batches(AugmentationConfig(variants=2, feature_loss=0.5, feature_gain=0.0)).at(0, 0).crops.flatten(1)
    )
    assert torch.equal(changed[:, -117:], plain[:, -117:].float())
    channels, rows = MAPS[0]
    maps = changed[:, : channels * rows * rows].view(-1, channels, rows * rows)
    theirs = plain[:, : channels * rows * rows].float().view(-1, channels, rows * rows)
    silent = (maps == 0).all(-1)
    assert 0.25 < silent.float().mean() < 0.75
    torch.testing.assert_close(maps[~silent], 2 * theirs[~silent])


def test_eyes_that_learn_keep_nothing(batches) -> None:
    mixture = batches().mixture
    assert looks_for("efficientnet-lite0", "anywhere", mixture) is None
    assert looks_for("blazepose", None, mixture) is None
    assert looks_for("blazepose", "anywhere", mixture) == Looks(Path("anywhere"), mixture.digest)
