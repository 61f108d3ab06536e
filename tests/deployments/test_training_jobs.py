import pytest

from alignhmr.core.errors import InputError
from alignhmr.deployments.training_jobs import run_dpo


@pytest.mark.parametrize("name", ["steps", "beta", "learning_rate"])
def test_numbers_of_dpo_must_be_positive(name, tmp_path):
    with pytest.raises(InputError, match=f"preference.{name} is 0"):
        run_dpo(tmp_path, tmp_path / "out", **{name: 0})  # type: ignore[arg-type]


def test_a_base_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(InputError, match="nobody"):
        run_dpo(tmp_path, tmp_path / "out", base="nobody")
    with pytest.raises(InputError, match="no checkpoint at"):
        run_dpo(tmp_path, tmp_path / "out", base=tmp_path / "none.safetensors")
