"""Cleaning a label set: its own hypotheses are rated by the real scorer, and everyone is kept, replaced or dropped."""

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from alignhmr.core.checkpoints import read_info, resolve
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.records import Intrinsics
from alignhmr.core.recovery import RecoveryRequest
from alignhmr.core.scoring.cleaning import CleaningRule
from alignhmr.deployments.labeling.guard import Guard
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.relabeling import Rescore, decide, open_labels, rows_of
from alignhmr.deployments.labeling.rows import recovery_columns
from alignhmr.deployments.labeling.schema import row_schema, rows_from_table, table_from_rows
from alignhmr.deployments.labeling.trial import _standing_person

HYPS = 8


class HereLedger:
    def __getattr__(self, name):
        return self

    def remote(self, *_):
        return None


@pytest.fixture(scope="module")
def models():
    return Models("starter", "starter", "open", "blazepose", "cpu")


@pytest.fixture(scope="module")
def labels(models, tmp_path_factory):
    """A run over three people; the third one's chosen hypothesis lies metres beside them."""
    recoverer = models.load_recoverer()
    rows: list[dict[str, Any]] = []
    for number in range(3):
        request = RecoveryRequest(
            _standing_person(), Intrinsics(500.0, (100.0, 150.0), "default"), number, HYPS
        )
        (recovery,) = recoverer.recover_batch([request])
        row = {
            "uri": f"{number}.jpg",
            "image_sha256": f"{number:064x}",
            "person_index": 0,
            **recovery_columns(recovery),
        }
        rows.append(row | {"captions": dict.fromkeys(("head", "torso"), "Kept."), "caption_source": "vlm:x"})
    rows[2]["selected"] = 3
    transl = np.array(rows[2]["transl_cam_m"]).reshape(HYPS, 3)
    transl[3, 0] += 3.0
    rows[2]["transl_cam_m"] = transl
    rows.append(
        {"uri": "3.jpg", "error_code": "not_an_image", "error_stage": "decode", "error_message": "html"}
    )
    output = Output.at(str(tmp_path_factory.mktemp("labels"))).of(1)
    output.make_folders()
    output.write_part(table_from_rows(rows, row_schema(HYPS)))
    identity = {"models": {"body": recoverer.models["body"]}}
    output.write_record(
        {"status": "finished", "attempt": 1, "identity": identity, "config": {"hypotheses": HYPS}}
    )
    return output, rows


@pytest.fixture
def rescored(models, labels, monkeypatch):
    monkeypatch.setattr(Guard, "run", lambda self, items, keys, work, failed: work(items))
    output, _ = labels
    table = rows_of(output, output.parts()[0], {f"{number}.jpg" for number in range(4)})
    ledger: Any = HereLedger()
    return Rescore(models, ledger, hypotheses=HYPS, seed=0)(table)


def test_what_is_there_is_scored_and_not_sampled(labels, rescored):
    assert rescored.schema.equals(row_schema(HYPS))
    for old, new in zip(labels[1][:2], rows_from_table(rescored), strict=False):
        for name in ("pose_aa", "betas", "transl_cam_m"):
            np.testing.assert_allclose(np.ravel(new[name]), np.ravel(old[name]), atol=1e-4, err_msg=name)
        # No silhouette was there when it was labelled either: the same scorer finds the same.
        np.testing.assert_allclose(new["scores"], old["scores"], atol=1e-3)
        assert new["captions"]["head"] == "Kept." and new["caption_source"] == "vlm:x"
        assert new["seed"] == old["seed"] and dict(new["models"]) == old["models"]


def test_a_wrong_label_seems_wrong_and_the_models_choice_better(rescored):
    rows = rows_from_table(rescored)
    assert rows[2]["judged_mm"] > 2000 > 5 * rows[2]["own_judged_mm"]
    for row in rows[:2]:
        assert max(row["judged_mm"], row["own_judged_mm"]) < 0.2 * rows[2]["judged_mm"]
    assert rows[3]["error_code"] == "not_an_image" and rows[3]["judged_mm"] is None


def test_decisions_are_written_for_everyone_judged(rescored, tmp_path):
    output = Output.at(str(tmp_path)).of(1)
    output.make_folders()
    part = output.write_part(rescored)
    confidence = read_info(resolve("starter", "scorer")).confidence
    assert confidence is not None
    told = decide(output, [part["file"]], CleaningRule(tolerance_mm=1000.0, precision=0.8), confidence)
    assert (told["people"], told["keep"], told["relabel"] + told["drop"]) == (3, 2, 1)
    decided = pq.read_table(tmp_path / "decisions.parquet").to_pylist()
    found = {row["uri"]: row["decision"] for row in decided}
    assert (found["0.jpg"], found["1.jpg"]) == ("keep", "keep") and found["2.jpg"] != "keep"
    assert decide(output, [], CleaningRule(), confidence) == {"people": 0}


def test_labels_of_another_body_or_of_no_finished_run_are_refused(labels, tmp_path):
    output, _ = labels
    body = output.record()["identity"]["models"]["body"]
    assert [entry.uri for entry in open_labels(output.location, body, 3).entries()] == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
    ]
    with pytest.raises(CompatibilityError, match=r"were made with body model .*, the one given is other"):
        open_labels(output.location, "other")
    with pytest.raises(InputError, match="holds no labelling run"):
        open_labels(str(tmp_path), body)
    (tmp_path / "run.json").write_text(json.dumps({"attempt": 1, "status": "running"}))
    with pytest.raises(InputError, match="isn't finished; run its command again first"):
        open_labels(str(tmp_path), body)
