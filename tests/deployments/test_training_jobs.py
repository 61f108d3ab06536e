import pytest

from alignhmr.core.errors import AcceleratorError, InputError
from alignhmr.deployments.training_jobs import run_dpo, run_scorer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"minutes": 0.0}, "minutes is 0"),
        ({"preset": "huge"}, "choose one of"),
        ({"device": "gpu"}, "auto, cpu, cuda or cuda:N"),
    ],
)
def test_wrong_arguments_of_a_scorer_are_told_before_anything_runs(arguments, words, tmp_path):
    options = {"preset": "starter", "out": tmp_path / "out", **arguments}
    with pytest.raises(InputError, match=words):
        run_scorer(**options)
    assert not (tmp_path / "out").exists()


def test_a_gpu_where_there_is_none(tmp_path):
    with pytest.raises(AcceleratorError, match="cpu"):
        run_scorer("starter", tmp_path, device="cuda:99")


@pytest.mark.parametrize("name", ["steps", "beta", "learning_rate"])
def test_numbers_of_dpo_must_be_positive(name, tmp_path):
    with pytest.raises(InputError, match=f"{name.replace('_', ' ')} is 0"):
        run_dpo(tmp_path, tmp_path / "out", **{name: 0})  # type: ignore[arg-type]


def test_a_base_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(InputError, match="nobody"):
        run_dpo(tmp_path, tmp_path / "out", base="nobody")
    with pytest.raises(InputError, match="no checkpoint at"):
        run_dpo(tmp_path, tmp_path / "out", base=tmp_path / "none.safetensors")
