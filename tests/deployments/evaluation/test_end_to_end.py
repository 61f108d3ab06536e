"""Both systems on real made people with the shipped models, and the comparison of the two."""

from pathlib import Path

import pytest
from rich.console import Console

from alignhmr.core.truth.results import Result
from alignhmr.deployments.evaluation.command import Options, run, run_compare


@pytest.mark.slow
def test_two_systems_on_made_people_and_beside_each_other(tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    for system in ("alignhmr", "detector3d"):
        options = Options(system=system, count=6, hypotheses=5, device="cpu")
        [result] = run(["studio"], tmp_path / system, options, console=quiet)
        assert result.answers["answered"] == 6
        # An upright, unhidden person in a studio: anything beyond this is a broken frame, unit or joint order.
        assert result.figures["pa_mpjpe_mm"]["selected"]["value"] < 150
        assert result.figures["pck_0.1"]["value"] > 0.8
    ours = Result.read(tmp_path / "alignhmr/studio/record.json")
    assert set(ours.figures) > {"pve_mm", "pa_pve_mm", "mpjae_deg", "error_box_pct"}
    assert ours.hypotheses["count"] == 5
    [comparison] = run_compare(tmp_path / "alignhmr", tmp_path / "detector3d", console=quiet)
    assert comparison.both == 6
