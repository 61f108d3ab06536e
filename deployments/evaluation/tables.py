"""Records and comparisons as Markdown: the four figures side by side with intervals, and what stands behind them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alignhmr.core.truth.comparison import Comparison
from alignhmr.core.truth.results import FOUR, Result, larger_is_better

LABELS: dict[str, str] = {
    "mpjpe_mm": "MPJPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "pve_mm": "PVE, mm",
    "pa_pve_mm": "PA-PVE, mm",
    "mpjae_deg": "MPJAE, 9 parts, degrees",
    "local_angle_deg": "local angle, 23 joints, degrees",
    "error_px": "2D error, px",
    "error_box_pct": "2D error, % of box",
    "pck3d_150mm": "3DPCK at 150 mm",
    "pck_0.05": "PCK at 0.05 of box",
    "pck_0.1": "PCK at 0.1 of box",
}

BROKEN_DOWN: tuple[str, ...] = ("pa_mpjpe_mm", "mpjpe_mm", "error_px")


def label(metric: str) -> str:
    return LABELS.get(metric, metric)


def figure_name(figure: str, hypotheses: int) -> str:
    return {"zero_noise": "zero-noise", "best_of_m": f"best of {hypotheses} (oracle)"}.get(figure, figure)


def value(metric: str, entry: Mapping[str, Any] | None, *, interval: bool = True) -> str:
    """ "84.3 [80.1, 88.9]"; shares in percent."""
    if entry is None or entry["value"] is None:
        return "–"
    scale, decimals = (100, 1) if larger_is_better(metric) else (1, 1)
    text = f"{scale * entry['value']:.{decimals}f}"
    if larger_is_better(metric):
        text += " %"
    if interval and entry["low"] is not None:
        text += f" [{scale * entry['low']:.{decimals}f}, {scale * entry['high']:.{decimals}f}]"
    return text


def headline(result: Result) -> str:
    """One line for the terminal."""
    answers, name = result.answers, result.system["name"]
    parts = [
        f"{label(metric).removesuffix(', mm')} {value(metric, result.figures[metric]['selected'])} mm"
        for metric in ("pa_mpjpe_mm", "mpjpe_mm")
        if metric in result.figures
    ]
    if not parts and "error_box_pct" in result.figures:  # the truth is of the picture alone
        parts = [f"2D error {value('error_box_pct', result.figures['error_box_pct'])} % of the box"]
    missed = f", {answers['missed']} missed" if answers["missed"] else ""
    return f"{result.benchmark}: {name}, {answers['people']} people{missed}: {', '.join(parts)} (selected)"


def tables(results: Sequence[Result]) -> str:
    """The whole ``table.md``."""
    first = result_lines(results[0])
    return (
        "\n".join([*_opening(results), *first, *(line for r in results[1:] for line in result_lines(r))])
        + "\n"
    )


def result_lines(result: Result) -> list[str]:
    """One benchmark's section."""
    answers, hyps, system = result.answers, result.hypotheses, result.system
    count = hyps["count"]
    lines = [f"## {result.benchmark}: {system['name']} {system['version']}".rstrip(), ""]
    missed = (
        f"{answers['missed']} of {answers['people']} people missed ({100 * answers['missed_share']:.1f} %)"
    )
    lines += [
        f"{missed}; errors are over the {answers['answered']} answered, shares count the missed as wrong."
    ]
    lines += [f"Not judged: {count} because {reason}." for reason, count in answers["not_judged"].items()]
    if result.data.get("caveat"):
        lines += [f"**Mind:** {result.data['caveat']}"]
    if count == 1:
        lines += ["One answer a person: the four figures are one."]
    lines += (
        ["", *_four(result), ""]
        if "mpjpe_mm" in result.figures
        else ["No truth in space: 2D errors alone.", ""]
    )
    single = [metric for metric in result.figures if "value" in result.figures[metric]]
    if single:
        lines += [
            *markdown(["selected answer", ""], [[label(m), value(m, result.figures[m])] for m in single]),
            "",
        ]
    if "spread_mm" in hyps:
        lines += [*markdown([f"{count} hypotheses", ""], of_many(hyps)), ""]
    for title, table in broken_down(result.breakdowns):
        lines += [*markdown([title, *map(label, BROKEN_DOWN), "n"], table), ""]
    return lines


def comparison_table(comparison: Comparison) -> str:
    """What `alignhmr eval --compare` prints."""
    first, second = comparison.names
    rows = [
        [
            label(d.metric), d.figure.replace("_", "-"), _plain(d.metric, d.first), _plain(d.metric, d.second),
            d.sentence(),
        ]
        for d in comparison.differences
        if d.figure in ("selected", "zero_noise") or d.metric in ("mpjpe_mm", "pa_mpjpe_mm")
    ]  # fmt: skip
    missed = f"missed: {comparison.missed[0]} by {first}, {comparison.missed[1]} by {second}"
    head = [
        f"## {comparison.benchmark}: {first} against {second}",
        "",
        f"{comparison.people} people; errors over the {comparison.both} that both answered; {missed}.",
        *([f"Mind: {comparison.caveat}"] if comparison.caveat else []),
        "",
    ]
    return "\n".join([*head, *markdown(["metric", "figure", first, second, "verdict (95 %)"], rows), ""])


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table, its first column to the left and the others to the right."""
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def _opening(results: Sequence[Result]) -> list[str]:
    protocol, made = results[0].protocol, results[0].made_by
    lines = ["# Evaluation", ""]
    lines += [
        f"Joints {protocol['joint_set']} ({len(protocol['joints'])} of {protocol['points']}, root:"
        f" {' and '.join(protocol['root'])}), boxes {protocol['boxes']}, camera {protocol['intrinsics']}."
        f" alignhmr {made.get('version')}, commit {made.get('commit')}.",
        "Brackets hold 95 % intervals, bootstrapped over clips; a missing one means too few clips.",
        "",
    ]
    if len(results) > 1:
        rows = [
            [
                r.benchmark,
                *(value("pa_mpjpe_mm", r.figures.get("pa_mpjpe_mm", {}).get(f)) for f in FOUR),
                str(r.answers["missed"]),
            ]
            for r in results
        ]
        names = [figure_name(f, results[0].hypotheses["count"]) for f in FOUR]
        lines += [*markdown(["PA-MPJPE, mm", *names, "missed"], rows), ""]
    return lines


def _four(result: Result) -> list[str]:
    names = [figure_name(figure, result.hypotheses["count"]) for figure in FOUR]
    rows = [
        [label(metric), *(value(metric, entry[figure]) for figure in FOUR)]
        for metric, entry in result.figures.items()
        if "selected" in entry
    ]
    return markdown(["", *names], rows)


def of_many(hyps: Mapping[str, Any]) -> list[list[str]]:
    """What there is to say of M > 1 answers: (name, figure)."""
    gains = hyps["selection_gain"]
    rows = [
        ["selection gain, PA-MPJPE", f"{gains['pa_mpjpe_mm']:.2f}"],
        ["selection gain, MPJPE", f"{gains['mpjpe_mm']:.2f}"],
        ["spread, mm", f"{hyps['spread_mm']:.1f}"],
    ]
    rows += [[f"truths inside the {100 * float(level):.0f} % of answers", f"{100 * share:.1f} %"]
             for level, share in hyps["coverage"].items()]  # fmt: skip
    expected = hyps.get("expected_error")
    if expected:
        rows += [
            ["expected error: gap, mm", f"{expected['gap_mm']:.1f}"],
            ["expected error: bias, mm", f"{expected['bias_mm']:+.1f}"],
            ["expected error over people: PLCC, SRCC, KRCC", _three(expected)],
            [
                f"expected error finds the {expected['failures']} failures: AUROC",
                _number(expected["auroc_failure"]),
            ],
        ]
    for metric in ("mpjpe_mm", "pa_mpjpe_mm"):
        scores = hyps.get(f"scores_{metric}")
        if scores:
            name = label(metric).removesuffix(", mm")
            rows += [
                [f"scores and {name} within a person: PLCC, SRCC, KRCC", _three(scores["within_person"])],
                [f"scores and {name} over the set: PLCC, SRCC, KRCC", _three(scores["over_set"])],
                [f"pairs ordered rightly by {name}", _number(scores["pair_precision"])],
            ]
    return rows


def broken_down(breakdowns: Mapping[str, Any]) -> list[tuple[str, list[list[str]]]]:
    """(title, rows) of each breakdown that has something to tell."""
    sources = [
        ("joint", breakdowns["by_joint"], "points"),
        ("visibility", breakdowns["by_visibility"], "points"),
    ]
    if len(breakdowns["by_domain"]) > 1:
        sources.append(("domain", breakdowns["by_domain"], "people"))
    sources += [(fact, table, "people") for fact, table in breakdowns["by_fact"].items()]
    return [
        (
            title,
            [
                [
                    kind.replace("_", " "),
                    _number(e["pa_mpjpe_mm"], 1),
                    _number(e["mpjpe_mm"], 1),
                    _number(e["error_px"], 1),
                    str(e[count]),
                ]
                for kind, e in table.items()
            ],
        )
        for title, table, count in sources
    ]


def _three(correlations: Mapping[str, float]) -> str:
    return ", ".join(_number(correlations[name]) for name in ("plcc", "srcc", "krcc"))


def _number(number: float | None, decimals: int = 2) -> str:
    return "–" if number is None else f"{number:.{decimals}f}"


def _plain(metric: str, number: float) -> str:
    return f"{100 * number:.1f} %" if larger_is_better(metric) else f"{number:.1f}"
