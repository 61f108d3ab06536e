"""What native code prints: out of sight when all went well, in sight when it did not."""

import os

import pytest

from alignhmr.core.native_output import stderr_aside


def test_native_output_is_kept_off_the_terminal(capfd):
    with stderr_aside():
        os.write(2, b"a library says hello\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_what_was_printed_before_a_failure_is_shown(capfd):
    with pytest.raises(ValueError), stderr_aside():
        os.write(2, b"the reason\n")
        raise ValueError
    assert capfd.readouterr().err == "the reason\n"
