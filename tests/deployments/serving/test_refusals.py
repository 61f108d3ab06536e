"""Every error of the tree has a status."""

import pytest

from alignhmr.core.errors import (
    AlignhmrError,
    CompatibilityError,
    ImageError,
    InputError,
    NoPersonError,
    ServiceError,
    SetupError,
)
from alignhmr.deployments.serving.intake import Gate
from alignhmr.deployments.serving.refusals import status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ImageError("x"), 422),
        (ImageError("x", code="too_large"), 413),
        (ImageError("x", code="not_an_image"), 415),
        (ImageError("x", code="truncated"), 422),
        (NoPersonError("x"), 422),
        (InputError("x", code="unsupported_media_type"), 415),
        (InputError("x", code="empty"), 400),
        (ServiceError("x", retry_after_s=1.0), 503),
        (SetupError("x"), 500),
        (CompatibilityError("x"), 500),
        (AlignhmrError("x"), 500),
    ],
)
def test_status(error, status):
    assert status_of(error) == status


def test_the_gate_refuses_beyond_its_limit_and_opens_again():
    gate = Gate(2, retry_after_s=3.0)
    with gate, gate:
        with pytest.raises(ServiceError) as caught, gate:
            pytest.fail("three are inside")
        assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 3)
    with gate:
        assert gate.inside == 1
    assert gate.inside == 0
