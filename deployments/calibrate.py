"""``alignhmr calibrate``: what spreads and expected errors are worth on prepared people, written into checkpoints."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from alignhmr.core.checkpoints import read_info, resolve, save_checkpoint
from alignhmr.core.errors import InputError
from alignhmr.core.perception.detector import Detector
from alignhmr.core.recovery import Recoverer
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.prepared import NobodySearched
from alignhmr.deployments.storage import open_location
from alignhmr.training.calibration import DEAREST, Calibrated, calibrate
from alignhmr.training.card import plan_in_words
from alignhmr.training.mixture import Mixture

_HEADING = "## Calibration"


def run_calibrate(
    data: str, out: str | Path, *, base: str | Path = "starter", scorer: str | Path = "starter",
    body: str | Path = "open", device: str = "auto", people: int = 1000, hypotheses: int = 20, seed: int = 0,
    console: Console | None = None,
) -> Calibrated:  # fmt: skip
    """Writes both models anew into the folder ``out``, the base with temperature and confidence, and their cards."""
    console, out = console or Console(stderr=True, highlight=False), Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is {out}, a file; name a folder for both models")
    detector: Detector = NobodySearched()  # type: ignore[assignment]
    torch.set_num_threads(1)
    torchvision_shim.install()
    recoverer = Recoverer.load(base=base, scorer=scorer, body=body, detector=detector, device=device)
    mixture = Mixture([(data, 1.0)], seed=seed, open_location=open_location)
    count = min(people, mixture.sources[0].rows)
    sightings = list(islice((row for batch in mixture.batches(50) for row in batch), count))
    with console.status(f"answering {count} people at several temperatures"):
        found = calibrate(
            recoverer, sightings, hypotheses=hypotheses, seed=seed,
            data=f"{count} of {_described(mixture)}, digest {mixture.digest[:16]}",
        )  # fmt: skip
    for path, model, confidence, lines in (
        (resolve(base, "base"), recoverer.base, found.confidence, lines_of(found)),
        (resolve(scorer, "scorer"), recoverer.scorer, found.scorer, scorer_lines_of(found)),
    ):
        info = read_info(path)
        config = info.config | ({"temperature": found.temperature} if info.kind == "base" else {})
        info = replace(info, config=config, confidence=confidence.to_dict())
        written = out / path.name
        digest = save_checkpoint(written, model, info, half=True)
        card = path.with_suffix(".md")
        if card.exists():
            _write_card(card.read_text(encoding="utf-8"), written.with_suffix(".md"), digest, lines)
        console.print(str(written), markup=False)
    console.print(_table(found))
    return found


def _described(mixture: Mixture) -> str:
    return "; ".join(plan_in_words(plan) for source in mixture.about for plan in source["plans"])


def scorer_lines_of(found: Calibrated) -> list[str]:
    """The scorer's section."""
    lines = [
        _HEADING,
        "",
        f"On {found.scorer.data}, {found.confidence.hypotheses} hypotheses each at temperature {found.temperature:g};"
        " coverage and curve are of the half that the fit didn't see.",
        "",
        f"- {100 * found.scorer_coverage:.1f} % of selected answers have their true MPJPE in its 90 % interval",
        f"- expected MPJPE less actual: {found.scorer_after.bias_mm:+.1f} mm, mean gap over tenths"
        f" {found.scorer_after.gap_mm:.1f} mm",
        "",
        "| tenth | expected mm | actual mm |",
        "|---|---|---|",
    ]
    bins = enumerate(found.scorer_after.bins, 1)
    lines += [f"| {number} | {part.expected_mm:.0f} | {part.actual_mm:.0f} |" for number, part in bins]
    return [*lines, ""]


def lines_of(found: Calibrated) -> list[str]:
    """The card's section."""
    confidence = found.confidence
    lines = [
        _HEADING,
        "",
        f"On {confidence.data}, {confidence.hypotheses} hypotheses each; the curve and the coverage are of the half"
        " that the fit didn't see.",
        "",
        f"- temperature {found.temperature:g}: the least energy score of those whose mean"
        f" hypothesis is at most {100 * DEAREST:g} % worse than the zero-noise answer"
        f" ({', '.join(f'{t:g}: {e:.1f} mm' for t, e in found.energy_mm.items())})",
        f"- {100 * found.coverage:.1f} % of true joint errors lie in their 90 % interval",
        f"- expected error less actual: {found.before.bias_mm:+.1f} mm before (the spread itself),"
        f" {found.after.bias_mm:+.1f} mm after; mean gap over tenths {found.before.gap_mm:.1f} mm before,"
        f" {found.after.gap_mm:.1f} mm after",
        "",
        "| tenth | spread mm | actual mm | expected mm | actual mm |",
        "|---|---|---|---|---|",
    ]
    for number, (b, a) in enumerate(zip(found.before.bins, found.after.bins, strict=True), 1):
        lines.append(
            f"| {number} | {b.expected_mm:.0f} | {b.actual_mm:.0f} | {a.expected_mm:.0f} | {a.actual_mm:.0f} |"
        )
    return [*lines, ""]


def _write_card(text: str, path: Path, digest: str, section: list[str]) -> None:
    before, _, after = text.partition(_HEADING)
    rest = after.partition("\n## ")[2]
    recipe = f"## {rest}" if rest else ""
    if not after:
        before, mark, recipe = text.partition("## Recipe")
        recipe = mark + recipe
    lines = [
        line if "sha256 `" not in line else line[: line.index("sha256 `")] + f"sha256 `{digest}`"
        for line in before.rstrip().splitlines()
    ]
    path.write_text("\n".join([*lines, "", *section, recipe]), encoding="utf-8")


def _table(found: Calibrated) -> Table:
    table = Table(title=f"temperature {found.temperature:g}, coverage {100 * found.coverage:.1f} % of 90 %")
    for name in ("spread mm", "actual mm", "expected mm", "actual mm"):
        table.add_column(name, justify="right")
    for before, after in zip(found.before.bins, found.after.bins, strict=True):
        numbers = (before.expected_mm, before.actual_mm, after.expected_mm, after.actual_mm)
        table.add_row(*(f"{number:.0f}" for number in numbers))
    return table
