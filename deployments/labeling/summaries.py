"""Counts over rows, that add up over parts: how many, why not, how scores are spread, and whom to show."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

_COUNTED = ("rows", "images", "images_with_people", "people", "people_labelled", "people_with_pairs", "pairs")
_BY_CODE = ("abstained", "errors", "caption_errors")
ERROR_EDGES_MM = np.linspace(0, 300, 31)
"""Of the histogram of expected errors; the last bin holds all beyond."""
MARGIN_EDGES = np.linspace(0, 6, 31)
SPREAD_EDGES_MM = np.linspace(0, 150, 31)
_HISTOGRAMS = {
    "expected_error_hist": len(ERROR_EDGES_MM) - 1, "spread_hist": len(SPREAD_EDGES_MM) - 1,
    "margin_hist": len(MARGIN_EDGES) - 1,
}  # fmt: skip
_SHOWN_A_PART, _SHOWN = 2, 12


def summary(table: pa.Table) -> dict[str, Any]:
    """Of one part's rows."""
    index = table.column("person_index").to_pylist()
    codes = table.column("error_code").to_pylist()
    pairs = [found for found in table.column("pairs").to_pylist() if found is not None]
    problems = table.column("caption_error").drop_null().to_pylist()
    expected, spread = _of_selected(table)
    return {
        "rows": table.num_rows,
        "images": sum(person in (None, 0) for person in index),
        "images_with_people": sum(person == 0 for person in index),
        "people": sum(person is not None for person in index),
        "people_labelled": sum(p is not None and code is None for p, code in zip(index, codes, strict=True)),
        "people_with_pairs": len(pairs),
        "pairs": sum(map(len, pairs)),
        "abstained": dict(Counter(table.column("abstained").drop_null().to_pylist())),
        "errors": dict(Counter(code for code in codes if code is not None)),
        "caption_errors": dict(Counter(problem.partition(":")[0] for problem in problems)),
        "expected_error_hist": _histogram(expected, ERROR_EDGES_MM),
        "spread_hist": _histogram(spread, SPREAD_EDGES_MM),
        "margin_hist": _histogram(
            np.array([pair["margin"] for found in pairs for pair in found]), MARGIN_EDGES
        ),
        "shown": _shown(codes, expected),
    }


class Tally:
    """Sums of summaries as they come; it holds no more for ten thousand than for ten."""

    def __init__(self) -> None:
        self._counts = Counter({key: 0 for key in _COUNTED})
        self._by_code = {key: Counter() for key in _BY_CODE}
        self._histograms = {key: np.zeros(bins, np.int64) for key, bins in _HISTOGRAMS.items()}
        self._best: list[dict[str, Any]] = []
        self._worst: list[dict[str, Any]] = []
        self._failed: dict[str, list[dict[str, Any]]] = {}

    def add(self, part: Mapping[str, Any]) -> None:
        self._counts.update({key: part[key] for key in _COUNTED})
        for key, counter in self._by_code.items():
            counter.update(part[key])
        for key, sums in self._histograms.items():
            sums += np.array(part[key], np.int64)
        good = [shown for shown in part["shown"] if "error_mm" in shown]
        self._best = sorted(_distinct(self._best + good), key=_by_error)[:_SHOWN]
        self._worst = sorted(_distinct(self._worst + good), key=_by_error, reverse=True)[:_SHOWN]
        for shown in part["shown"]:
            if "code" in shown:
                some = self._failed.setdefault(shown["code"], [])
                if len(some) < 2 * _SHOWN_A_PART and shown not in some:
                    some.append(shown)

    def total(self) -> dict[str, Any]:
        """A summary of all that was added."""
        failed = [shown for some in self._failed.values() for shown in some]
        return (
            {key: self._counts[key] for key in _COUNTED}
            | {key: dict(sorted(counter.items())) for key, counter in self._by_code.items()}
            | {key: sums.tolist() for key, sums in self._histograms.items()}
            | {"best": self._best, "worst": self._worst, "failed": self._failed}
            | {"shown": [*self._best, *self._worst, *failed]}
        )


def add_up(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One summary of several."""
    tally = Tally()
    for part in summaries:
        tally.add(part)
    return tally.total()


def counts_of(total: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` tells as counts."""
    return {key: total[key] for key in (*_COUNTED, *_BY_CODE)}


def _distinct(shown: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(item["file"], item["row"]): item for item in shown}.values())


def _by_error(shown: Mapping[str, Any]) -> tuple:
    return shown["error_mm"], shown["file"], shown["row"]


def _of_selected(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Expected error and mean joint spread of the selected hypotheses, in mm; NaN in error rows."""
    rows = table.num_rows
    valid = table.column("scores").is_valid().to_numpy()
    expected, spread = np.full(rows, np.nan), np.full(rows, np.nan)
    if valid.any():
        selected = table.column("selected").drop_null().to_numpy()
        errors = _matrix(table.column("expected_error_mm"))
        expected[valid] = errors[np.arange(len(errors)), selected]
        spread[valid] = _matrix(table.column("joint_spread_mm")).mean(1)
    return expected, spread


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    whole = column.drop_null().combine_chunks()
    return whole.flatten().to_numpy().reshape(-1, column.type.list_size)


def _histogram(values: np.ndarray, edges: np.ndarray) -> list[int]:
    known = values[np.isfinite(values)] if len(values) else values
    return np.histogram(np.clip(known, edges[0], edges[-1]), edges)[0].tolist()


def _shown(codes: list[str | None], expected: np.ndarray) -> list[dict[str, Any]]:
    """Who of this part may be shown: the best, the worst, and one of each kind of failure."""
    known = np.flatnonzero(np.isfinite(expected))
    order = known[np.argsort(expected[known], kind="stable")]
    rows = dict.fromkeys([*order[:_SHOWN_A_PART].tolist(), *order[-_SHOWN_A_PART:].tolist()])
    good = [{"row": row, "error_mm": round(float(expected[row]), 2)} for row in rows]
    first: dict[str, int] = {}
    for row, code in enumerate(codes):
        if code is not None:
            first.setdefault(code, row)
    return good + [{"row": row, "code": code} for code, row in first.items()]
