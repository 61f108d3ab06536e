"""A global batch is the same, however many workers share it."""

import itertools

import pytest
import torch

from alignhmr.core.diffusion.condition import concatenate
from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.core.synthetic.poses import PoseSampler
from alignhmr.training.augmentation import AugmentationConfig
from alignhmr.training.base_batches import MixedBatches, ObservationBatches, PictureBatches, Rows
from alignhmr.training.mixture import Mixture
from alignhmr.training.prefetch import made_ahead


@pytest.fixture(scope="module")
def sampler(body, clips) -> ObservationSampler:
    return ObservationSampler(body, PoseSampler(load_clips(clips)))


@pytest.fixture(scope="module")
def pictures(body, made, tmp_path_factory) -> PictureBatches:
    folder = made.write_people(tmp_path_factory.mktemp("data") / "people", made.seen_people(body, 10))
    return PictureBatches(Mixture([(folder, 1.0)]), body, 6, 32, AugmentationConfig())


def same(one: Observations, other: Observations) -> bool:
    return all(torch.equal(value, getattr(other, name)) for name, value in vars(one).items())


def rows_of(batch: Observations, index: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: value[index] for name, value in vars(batch).items() if name != "crops"}


@pytest.mark.parametrize("world", [2, 3])
def test_shares_put_together_are_the_global_batch(sampler, pictures, world):
    """Simulated keypoints, augmentation, pictures: but for the last bits of matrix products."""
    whole = MixedBatches(ObservationBatches(sampler, 12, seed=5), pictures)(3)
    crops, simulated = [], []
    for rank in range(world):
        share = MixedBatches(ObservationBatches(sampler, 12, 5, rank, world), pictures)(3)
        rows = Rows.shared(6, 12, rank, world)
        assert len(share) == len(rows.index) == 18 // world and rows.of == 18
        ours, theirs = rows_of(whole, rows.index), vars(share)
        for name, value in ours.items():
            assert torch.allclose(value, theirs[name], rtol=1e-4, atol=1e-4), name
        crops.append(share.crops)
        simulated.append(rows.index)
    assert (torch.cat(crops) - whole.crops).abs().max() <= 1 and whole.crops.std() > 5
    assert sorted(torch.cat(simulated).tolist()) == list(range(18))


@pytest.mark.parametrize("processes", [0, 2])
def test_a_stream_goes_on_where_it_is_told_to(sampler, pictures, processes):
    """The same batches whether a thread makes them or several processes do."""
    batches = MixedBatches(ObservationBatches(sampler, 4, seed=1), pictures)
    from_two = list(itertools.islice(made_ahead(batches, 2, processes), 3))
    from_four = batches(4)
    assert processes or same(from_two[2], from_four)
    # Another process may add up a matrix product in another order.
    for name, value in vars(from_four).items():
        torch.testing.assert_close(getattr(from_two[2], name), value, rtol=1e-4, atol=1e-3)
    assert not same(from_two[1], from_four)
    other_seed = MixedBatches(ObservationBatches(sampler, 4, seed=2), pictures)(4)
    assert not torch.equal(other_seed.crops, from_four.crops)


def test_without_pictures_shares_are_of_the_same_batch(sampler):
    whole = ObservationBatches(sampler, 8, seed=3)(1)
    halves = [ObservationBatches(sampler, 8, 3, rank, 2)(1) for rank in range(2)]
    assert same(whole, concatenate(halves))


@pytest.mark.parametrize(
    ("people", "simulated", "what"), [(5, 4, "5 prepared people"), (4, 5, "5 simulated")]
)
def test_an_uneven_share_is_refused(people, simulated, what):
    with pytest.raises(InputError, match=f"{what}.* can't be shared evenly by 2 workers"):
        Rows.shared(people, simulated, 0, 2)
