"""The stages after the captions: people to hypotheses, and hypotheses to scores, vetoes and preference pairs.

Each is a pool of its own. Error rows pass through both; a person who can't be answered costs nobody else.
"""

import hashlib
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from ray.actor import ActorHandle

from alignhmr.core.records import Recovery, drawn
from alignhmr.core.scoring.preference import Abstention, MiningRule, WordRule, mine_pairs
from alignhmr.deployments.labeling.counting import counting
from alignhmr.deployments.labeling.failures import failure
from alignhmr.deployments.labeling.guard import Guard
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.labeling.rows import person_of, recovery_columns
from alignhmr.deployments.labeling.schema import (
    row_schema,
    rows_from_table,
    table_from_rows,
    widened,
    with_columns,
)

if TYPE_CHECKING:
    from alignhmr.core.refinement import Prompt

log = logging.getLogger(__name__)

_FINITE = ("pose_aa", "betas", "transl_cam_m", "scores", "expected_error_mm", "selected_joints_cam_m")
Row = Mapping[str, Any]
Columns = dict[str, Any]


class _PersonStage:
    """What both have in common: people that are still good are worked on one by one, under guard."""

    name: str

    def __init__(
        self, models: Models, ledger: ActorHandle, *, hypotheses: int, seed: int, limit_s: float | None
    ):
        from alignhmr.core.geometry.cameras import intrinsics_for
        from alignhmr.core.recovery import RecoveryRequest

        self.recoverer = models.load_recoverer()
        self._request_of, self._intrinsics_for = RecoveryRequest, intrinsics_for
        self.ledger, self.hypotheses, self.seed = ledger, hypotheses, seed
        self.guard = Guard(ledger, self.name, limit_s)

    def answers(self, people: Sequence[Row]) -> list[Columns]:
        keys = [f"{row['image_sha256']}:{row['person_index']}" for row in people]
        return self.guard.run(people, keys, self._each, self._set_aside)

    def _each(self, people: Sequence[Row]) -> list[Columns]:
        found = []
        for row in people:
            with self.guard.watching(f"{row['image_sha256']}:{row['person_index']}"):
                try:
                    found.append(self.answer(row))
                except Exception as error:
                    log.warning("stage %s raised on a person", self.name, exc_info=True)
                    found.append(
                        failure(self.name, f"{self.name}_failed", f"{type(error).__name__}: {error}")
                    )
        return found

    def _set_aside(self, _: Row, code: str, message: str) -> Columns:
        return failure(self.name, code, message)

    def answer(self, row: Row) -> Columns:
        raise NotImplementedError

    def request(self, row: Row) -> Any:
        person = person_of(row)
        if row["mask"] is not None:
            mask = np.frombuffer(zlib.decompress(row["mask"]), np.uint8)
            shape = row["mask_height"], row["mask_width"]
            person = replace(person, mask=mask.reshape(shape), mask_box_px=row["mask_box_px"])
        seed = person_seed(self.seed, row["image_sha256"], row["person_index"])
        camera = self._intrinsics_for(row["width"], row["height"], exif_focal_px=row["exif_focal_px"])
        return self._request_of(person, camera, seed, self.hypotheses)


class Recover(_PersonStage):
    """People to hypotheses."""

    name = "recover"

    def __call__(self, table: pa.Table) -> pa.Table:
        with counting(self.ledger, "recover") as counts:
            good = _good(table)
            table = with_columns(table, crop_jpeg=[None] * table.num_rows)
            if not good:
                return table
            rows = rows_from_table(table)
            answers = dict(zip(good, self.answers([rows[index] for index in good]), strict=True))
            counts.update(f"error.{row['error_code']}" for row in answers.values() if "error_code" in row)
            names = ("error_code", "error_stage", "error_message", "bodies")
            told = {
                name: [answers.get(index, {}).get(name, row[name]) for index, row in enumerate(rows)]
                for name in names
            }
            return with_columns(table, **told)

    def answer(self, row: Row) -> Columns:
        from alignhmr.deployments.labeling.bodies import pack

        return {"bodies": pack(*self.recoverer.proposed(self.request(row)))}


class Score(_PersonStage):
    """Hypotheses to the rows of the run, less captions of the pose."""

    name = "score"

    def __init__(
        self, models: Models, ledger: ActorHandle, *, hypotheses: int, seed: int, limit_s: float | None = None,
        rule: MiningRule | None = None, models_told: Mapping[str, str] | None = None, refine: str = "none",
        ending: Callable[[pa.Table], pa.Table] | None = None, words: WordRule | None = None,
    ) -> None:  # fmt: skip
        """``refine`` as in ``LabelConfig``; ``ending`` is what a captioner does to scored rows."""
        super().__init__(models, ledger, hypotheses=hypotheses, seed=seed, limit_s=limit_s)
        self.rule, self.models_told, self.refine = rule or MiningRule(), models_told, refine
        self.ending, self.words = ending, words or WordRule()
        self.schema = row_schema(hypotheses)

    def __call__(self, table: pa.Table) -> pa.Table:
        with counting(self.ledger, "score") as counts:
            good = _good(table)
            people = rows_from_table(table.take(pa.array(good, pa.int64())))
            for row, answer in zip(people, self.answers(people), strict=True):
                row.update(answer)
            counts["recovered"] += sum(row["error_code"] is None for row in people)
            counts["pairs"] += sum(len(row.get("pairs") or ()) for row in people)
            counts.update(f"error.{row['error_code']}" for row in people if row["error_code"])
            scored = _merged(widened(table, self.schema), table_from_rows(people, self.schema), good)
            return scored if self.ending is None else self.ending(scored)

    def answer(self, row: Row) -> Columns:
        from alignhmr.deployments.labeling.bodies import unpack

        sight, hypotheses = unpack(row["bodies"], self.recoverer.device)
        request, refiner = self.request(row), None
        if self.refine != "none":
            said = row["captions"] if self.refine == "captions" else None
            refiner = self.recoverer.refiner(request.person, prompt_of(said), sight, hypotheses)
        return self.columns_of(row, self.recoverer.judged(request, sight, hypotheses, refiner))

    def columns_of(self, row: Row, recovery: Recovery) -> Columns:
        """The row's columns for this answer about its person; an error's, where its numbers aren't finite."""
        columns = recovery_columns(recovery)
        for name in _FINITE:
            if not np.isfinite(columns[name]).all():
                return failure(
                    "score", "recovery_failed", f"the model gave numbers in {name} that aren't finite"
                )
        if self.models_told is not None:
            columns["models"] = dict(self.models_told)
        return columns | self._preferences(row, recovery)

    def _preferences(self, row: Row, recovery: Recovery) -> Columns:
        from alignhmr.core.language.agreement import tie_broken
        from alignhmr.core.language.agreement import vetoed as vetoed_by
        from alignhmr.deployments.labeling.disagreement import agreement_of

        vetoed, hyps = dict(self.recoverer.vetoes(recovery)), recovery.hypotheses
        scores, columns = hyps.scores, Columns()
        if (found := agreement_of(row, hyps.joints_cam_m)) is not None:
            columns["agreement"] = found.parts
            if self.words.veto_below:
                vetoed["caption"] = vetoed_by(found, below=self.words.veto_below)
            scores = tie_broken(scores, found, self.words.tie_within)
        mined = mine_pairs(
            scores, hyps.expected_error_mm, self.rule, vetoed=vetoed,
            joints_m=hyps.joints_cam_m - hyps.joints_cam_m[:, :1], among=drawn(len(hyps)),
        )  # fmt: skip
        against = [[name for name, hit in vetoed.items() if hit[index]] for index in range(len(hyps))]
        columns["vetoes"] = [",".join(names) or None for names in against]
        if isinstance(mined, Abstention):
            return columns | {"abstained": mined.reason}
        return columns | {"pairs": [vars(pair) for pair in mined]}


def prompt_of(captions: Mapping[str, str | None] | None) -> "Prompt":
    """What refinement is told by a model's sentences, body part -> sentence; what isn't understood says nothing."""
    from alignhmr.core.language.reading import read_parts
    from alignhmr.core.refinement import Prompt

    said = {part: sentence for part, sentence in (captions or {}).items() if sentence}
    return Prompt(codes=read_parts(said).codes)


def _merged(table: pa.Table, others: pa.Table, places: list[int]) -> pa.Table:
    """The table with these of its rows replaced, in their order."""
    if not places:
        return table
    order = np.arange(table.num_rows)
    order[places] = table.num_rows + np.arange(len(places))
    return pa.concat_tables([table, others]).take(pa.array(order, pa.int64()))


def _good(table: pa.Table) -> list[int]:
    """Indices of rows of people without an error so far."""
    codes = table.column("error_code").to_pylist()
    return [index for index, code in enumerate(codes) if code is None]


def person_seed(run_seed: int, image_sha256: str, person_index: int) -> int:
    """Seed of one person: the same for the same bytes and run seed, wherever and beside whomever they are."""
    digest = hashlib.sha256(f"{run_seed}:{image_sha256}:{person_index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
