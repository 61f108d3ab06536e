"""Hypotheses that travel between two stages are the same hypotheses, to the last bit."""

import numpy as np
import pytest

from alignhmr.core.records import Intrinsics
from alignhmr.core.recovery import RecoveryRequest
from alignhmr.core.refinement import Prompt
from alignhmr.deployments.labeling.bodies import pack, unpack
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.labeling.recovering import prompt_of
from alignhmr.deployments.labeling.rows import recovery_columns
from alignhmr.deployments.labeling.trial import _standing_person


@pytest.mark.parametrize(
    "prompt", [None, Prompt(), prompt_of({"left_arm": "The left arm is raised straight up."})]
)
def test_two_stages_answer_what_one_process_answers(prompt):
    makes, rates = (
        Models("starter", "starter", "open", "blazepose", "cpu").load_recoverer() for _ in range(2)
    )
    request = RecoveryRequest(_standing_person(), Intrinsics(500.0, (100.0, 150.0), "default"), 7, 12, prompt)
    (alone,) = makes.recover_batch([request])
    data = pack(*makes.proposed(request))
    assert data == pack(*unpack(data)) and len(data) < 60_000
    sight, hypotheses = unpack(data)
    refiner = None if prompt is None else rates.refiner(request.person, prompt, sight, hypotheses)
    travelled = rates.judged(request, sight, hypotheses, refiner)
    wanted, got = recovery_columns(alone), recovery_columns(travelled)
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        if name != "models":
            np.testing.assert_array_equal(value, got[name], err_msg=name)


def test_captions_of_a_model_are_what_refinement_is_told():
    said = {"left_arm": "The left arm is raised straight up.", "head": None, "torso": "Purple monkeys."}
    assert prompt_of(said).codes == {"left_upper_arm": "up"}
    assert prompt_of(None) == prompt_of({}) == Prompt()
