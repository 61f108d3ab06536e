"""The record of one system on one benchmark, as JSON: terms, digests, figures with intervals, and each person's errors.

Two records can be compared (``core/truth/comparison.py``) because each carries its terms, the digest of its data
and the errors of every person; nothing else is needed, neither the pictures nor the models.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.metrics.bootstrap import mean_interval
from alignhmr.core.metrics.hypotheses import calibration, coverage, four_figures, four_per_person
from alignhmr.core.metrics.ranking import auroc, correlations, pair_precision, within_groups
from alignhmr.core.plain_json import plain
from alignhmr.core.truth.evaluate import MIN_POINTS, MIN_VISIBLE, PCK_2D, PCK_3D_MM, Evaluation, PersonErrors

FORMAT = "alignhmr.evaluation/1"
FOUR: tuple[str, ...] = ("zero_noise", "mean", "selected", "best_of_m")
ERRORS: tuple[str, ...] = (
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "pve_mm",
    "pa_pve_mm",
    "mpjae_deg",
    "local_angle_deg",
)
"""Told in four figures; smaller is better."""
IN_SPACE: tuple[str, ...] = ERRORS[:2]
"""What everyone has of whom the truth knows points in space."""
SINGLE: tuple[str, ...] = (
    "error_px",
    "error_box_pct",
    "pck3d_150mm",
    *(f"pck_{share:g}" for share in PCK_2D),
)
"""Told of the selected hypothesis alone."""
FAILURE_MM = 150.0
"""An answer with a larger MPJPE has failed: what the expected error is asked to foresee (AUROC)."""
_MOST_KINDS = 12


def larger_is_better(metric: str) -> bool:
    return metric.startswith("pck")


@dataclass(frozen=True)
class Result:
    """One system on one benchmark; a plain tree, as it stands in the JSON file."""

    benchmark: str
    system: dict[str, Any]
    protocol: dict[str, Any]
    data: dict[str, Any]
    """Digests of truth and pictures, samples, the caveat, seed and count that were asked for."""
    answers: dict[str, Any]
    """People judged, answered, missed and not judged."""
    figures: dict[str, Any]
    """Metric -> the four figures, or one; each with value, low, high, people, groups."""
    hypotheses: dict[str, Any]
    """Of M > 1 answers: gain, spread, coverage, calibration, ranking. Empty for a system with one answer."""
    breakdowns: dict[str, Any]
    """Of the selected hypothesis: by joint, visibility, domain, and fact."""
    people: dict[str, Any]
    """Columns over all judged people, answered or missed: key, group, and values by metric and figure."""
    made_by: dict[str, Any] = field(default_factory=dict)
    """alignhmr's version and commit, and when."""

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tree = {"format": FORMAT, **asdict(self)}
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(plain(tree), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Result":
        """InputError or CompatibilityError where the file is no record of this format."""
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{path} can't be read: {error.strerror or error}; name a record.json"
            ) from error
        except ValueError as error:
            raise InputError(
                f"{path} is not a JSON record ({error}); write it anew with alignhmr eval"
            ) from error
        found = tree.pop("format", None) if isinstance(tree, dict) else None
        if found != FORMAT:
            raise CompatibilityError(f"{path} has format {found!r}, {FORMAT!r} is read here; evaluate again")
        try:
            return cls(**tree)
        except TypeError as error:
            raise InputError(f"{path} lacks a part of its record ({error}); evaluate again") from error


def result_of(
    evaluation: Evaluation, benchmark: str, *, asked: Mapping[str, Any], made_by: Mapping[str, Any],
    caveat: str = "",
) -> Result:  # fmt: skip
    """The record; ``caveat`` is what a reader of its figures must know of the truth.

    InputError where nobody could be judged or nobody was answered.
    """
    people = evaluation.people
    answered = [person for person in people if not person.missed]
    if not people:
        reasons = "; ".join(evaluation.not_judged) or "it holds no people"
        raise InputError(
            f"nobody of {benchmark} can be judged: {reasons}; choose another joint set with --joints"
        )
    if not answered:
        raise InputError(f"{evaluation.system.name} answered none of the {len(people)} people of {benchmark}")
    missed = len(people) - len(answered)
    return Result(
        benchmark=benchmark,
        system=asdict(evaluation.system),
        protocol=_protocol(evaluation),
        data={
            "digest": evaluation.data_digest,
            "pictures": evaluation.pictures_digest,
            "samples": evaluation.samples,
            "caveat": caveat,
            **asked,
        },
        answers={
            "people": len(people),
            "answered": len(answered),
            "missed": missed,
            "missed_share": missed / len(people),
            "not_judged": dict(evaluation.not_judged),
        },
        figures=_figures(people),
        hypotheses=_hypotheses(answered, evaluation.hypotheses),
        breakdowns=_breakdowns(people, evaluation.joints.names),
        people=_columns(people),
        made_by=dict(made_by),
    )


def _protocol(evaluation: Evaluation) -> dict[str, Any]:
    from alignhmr.core.body.joint_sets import POINT_SETS

    joints, system = evaluation.joints, evaluation.system
    return {
        "joint_set": joints.name,
        "points": joints.points,
        "joints": list(joints.names),
        "root": [POINT_SETS[joints.points][index] for index in joints.root],
        "alignment": {"mpjpe_mm": "root on root", "pa_mpjpe_mm": "similarity, each person and hypothesis"},
        "body_model": sorted(evaluation.true_bodies),
        "boxes": system.boxes,
        "intrinsics": system.intrinsics,
        "min_points": MIN_POINTS,
        "min_visible": MIN_VISIBLE,
        "pck3d_mm": PCK_3D_MM,
        "box_size": "longer side of the true box",
    }


def _four(people: list[PersonErrors], metric: str) -> dict[str, np.ndarray] | None:
    """The four figures of each person, NaN where there is none; None if nobody has the metric."""
    found = [person.per_hypothesis.get(metric) for person in people]
    known = [index for index, errors in enumerate(found) if errors is not None]
    if not known:
        return None
    selected = np.array([people[index].selected for index in known])
    four = four_per_person(np.stack([found[index] for index in known]), selected)  # pyright: ignore
    table = {name: np.full(len(people), np.nan) for name in FOUR}
    for name in FOUR:
        table[name][known] = four[name]
    return table


def _single(people: list[PersonErrors], metric: str) -> np.ndarray | None:
    """A missed person's share of right points is 0 only where the system speaks in the picture at all."""
    answered = [person.single.get(metric) for person in people if not person.missed]
    if all(value is None for value in answered):
        return None
    return np.array([person.single.get(metric, np.nan) for person in people])


def _figures(people: list[PersonErrors]) -> dict[str, Any]:
    groups = [person.group for person in people]
    figures: dict[str, Any] = {}
    for metric in ERRORS:
        four = _four(people, metric)
        if four is not None:
            figures[metric] = {name: mean_interval(four[name], groups).to_dict() for name in FOUR}
    for metric in SINGLE:
        values = _single(people, metric)
        if values is not None:
            figures[metric] = mean_interval(values, groups).to_dict()
    return figures


def _hypotheses(answered: list[PersonErrors], hyps: int) -> dict[str, Any]:
    answered = [person for person in answered if IN_SPACE[0] in person.per_hypothesis]
    if hyps < 2 or not answered:
        return {"count": hyps}
    selected = np.array([person.selected for person in answered])
    errors = {m: np.stack([p.per_hypothesis[m] for p in answered]) for m in IN_SPACE}
    ranks = np.stack([person.per_point["truth_rank"] for person in answered])
    record: dict[str, Any] = {
        "count": hyps,
        "selection_gain": {m: four_figures(e, selected).selection_gain for m, e in errors.items()},
        "spread_mm": float(np.mean([person.per_point["spread_mm"] for person in answered])),
        "coverage": {f"{level:g}": share for level, share in coverage(ranks).items()},
    }
    rows = np.arange(len(answered))
    if all(person.expected_mm is not None for person in answered):
        expected = np.stack([np.asarray(p.expected_mm, np.float64) for p in answered])[rows, selected]
        actual = errors["mpjpe_mm"][rows, selected]
        record["expected_error"] = {
            **asdict(calibration(expected, actual)),
            **correlations(-expected, actual),
            "auroc_failure": _or_none(auroc(expected, actual > FAILURE_MM)),
            "failures": int((actual > FAILURE_MM).sum()),
        }
    if all(person.scores is not None for person in answered):
        scores = np.stack([np.asarray(person.scores, np.float64) for person in answered])
        for metric, values in errors.items():
            record[f"scores_{metric}"] = {
                "within_person": within_groups(scores, values),
                "over_set": correlations(scores.ravel(), values.ravel()),
                "pair_precision": _or_none(pair_precision(scores, values)),
            }
    return record


def _breakdowns(people: list[PersonErrors], names: tuple[str, ...]) -> dict[str, Any]:
    answered = [person for person in people if not person.missed]

    def points(metric: str) -> np.ndarray:
        """[people, points], NaN where unknown."""
        nothing = np.full(len(names), np.nan)
        return np.stack([person.per_point.get(metric, nothing) for person in answered])

    metrics = {metric: points(metric) for metric in ("mpjpe_mm", "pa_mpjpe_mm", "error_px")}
    visible = np.stack([person.visible for person in answered])
    known = np.isfinite(metrics["mpjpe_mm"]) | np.isfinite(metrics["error_px"])
    by_joint = {
        name: {metric: _mean(values[:, index]) for metric, values in metrics.items()}
        | {"points": int(known[:, index].sum())}
        for index, name in enumerate(names)
    }
    by_visibility = {}
    for kind, mask in (("visible", visible == 1), ("hidden", visible == 0), ("unknown", np.isnan(visible))):
        if mask.any():
            by_visibility[kind] = {metric: _mean(values[mask]) for metric, values in metrics.items()}
            by_visibility[kind]["points"] = int((mask & known).sum())
    facts = sorted({fact for person in people for fact in person.facts})
    by_fact = {fact: _by(people, _binned(people, fact)) for fact in facts}
    return {
        "by_joint": by_joint,
        "by_visibility": by_visibility,
        "by_domain": _by(people, lambda person: person.domain),
        "by_fact": {fact: table for fact, table in by_fact.items() if len(table) > 1},
    }


def _by(people: list[PersonErrors], kind_of: Callable[[PersonErrors], str]) -> dict[str, Any]:
    table: dict[str, list[PersonErrors]] = {}
    for person in people:
        table.setdefault(kind_of(person), []).append(person)
    if len(table) > _MOST_KINDS:  # names rather than kinds: nothing to learn from
        return {}
    return {kind: _selected_means(table[kind]) for kind in sorted(table, key=_first_number)}


def _selected_means(people: list[PersonErrors]) -> dict[str, Any]:
    answered = [person for person in people if not person.missed]
    means = {
        metric: _mean([p.per_hypothesis[metric][p.selected] for p in answered if metric in p.per_hypothesis])
        for metric in IN_SPACE
    }
    means["error_px"] = _mean([p.single["error_px"] for p in answered if "error_px" in p.single])
    return {**means, "people": len(people), "missed": len(people) - len(answered)}


def _binned(people: list[PersonErrors], fact: str) -> Callable[[PersonErrors], str]:
    """Words and truth values are kinds of their own; numbers fall into thirds of the benchmark's people."""
    found = [person.facts[fact] for person in people if fact in person.facts]
    numbers = [value for value in found if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < len(found) or len(set(numbers)) <= 4:
        return lambda person: _word(person.facts.get(fact, "unknown"))
    edges = np.quantile(np.array(numbers, np.float64), [0, 1 / 3, 2 / 3, 1])

    def name(person: PersonErrors) -> str:
        if fact not in person.facts:
            return "unknown"
        place = int(np.searchsorted(edges[1:3], float(person.facts[fact]), side="right"))
        return f"{edges[place]:.3g} to {edges[place + 1]:.3g}"

    return name


def _word(value: str | float | bool) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _columns(people: list[PersonErrors]) -> dict[str, Any]:
    values: dict[str, dict[str, np.ndarray]] = {}
    for metric in ERRORS:
        four = _four(people, metric)
        if four is not None:
            values[metric] = four
    for metric in SINGLE:
        single = _single(people, metric)
        if single is not None:
            values[metric] = {"selected": single}
    return {
        "key": [person.key for person in people],
        "group": [person.group for person in people],
        "missed": [person.missed for person in people],
        "values": {
            metric: {name: [_or_none(round(float(v), 4)) for v in column] for name, column in columns.items()}
            for metric, columns in values.items()
        },
    }


def _mean(values: np.ndarray | list[float]) -> float | None:
    found = np.asarray(values, np.float64)
    known = found[np.isfinite(found)]
    return float(known.mean()) if len(known) else None


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _first_number(kind: str) -> tuple[float, str]:
    try:
        return float(kind.split()[0]), kind
    except (ValueError, IndexError):
        return math.inf, kind
