"""Models that another node has under the same name, and that are others."""

import pytest

from alignhmr.core.errors import CompatibilityError
from alignhmr.deployments.labeling.models import check_digests


def test_a_model_that_is_not_the_drivers_is_refused_with_both_digests() -> None:
    with pytest.raises(
        CompatibilityError, match=r"the base is starter:bbbb2222, asked for was starter:aaaa1111"
    ):
        check_digests({"base": "starter:bbbb2222"}, {"base": "starter:aaaa1111", "scorer": "starter:cccc"})


@pytest.mark.parametrize("wanted", ["starter:aaaa1111", "aaaa", "aaaa1111"])
def test_the_same_model_or_its_first_digits_are_accepted(wanted: str) -> None:
    check_digests({"base": "starter:aaaa1111"}, {"base": wanted})


def test_too_few_digits_tell_nothing() -> None:
    with pytest.raises(CompatibilityError):
        check_digests({"base": "starter:aaaa1111"}, {"base": "aaa"})
