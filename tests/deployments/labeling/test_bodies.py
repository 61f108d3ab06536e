"""Hypotheses that travel between two stages are the same hypotheses, to the last bit."""

import numpy as np

from alignhmr.core.records import Intrinsics
from alignhmr.core.recovery import RecoveryRequest
from alignhmr.deployments.labeling.bodies import pack, unpack
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.labeling.rows import recovery_columns
from alignhmr.deployments.labeling.trial import _standing_person


def test_two_stages_answer_what_one_process_answers():
    makes, rates = (
        Models("starter", "starter", "open", "blazepose", "cpu").load_recoverer() for _ in range(2)
    )
    request = RecoveryRequest(_standing_person(), Intrinsics(500.0, (100.0, 150.0), "default"), 7, 12)
    (alone,) = makes.recover_batch([request])
    data = pack(*makes.proposed(request))
    assert data == pack(*unpack(data)) and len(data) < 60_000
    travelled = rates.judged(request, *unpack(data))
    wanted, got = recovery_columns(alone), recovery_columns(travelled)
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        if name != "models":
            np.testing.assert_array_equal(value, got[name], err_msg=name)
