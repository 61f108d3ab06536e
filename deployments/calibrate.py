"""``alignhmr calibrate``: what a base model's spreads are worth on prepared people, written into its checkpoint."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from alignhmr.core.checkpoints import read_info, resolve, save_checkpoint
from alignhmr.core.errors import InputError
from alignhmr.core.perception.detector import Detector
from alignhmr.core.records import Person, Picture
from alignhmr.core.recovery import Recoverer
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.storage import open_location
from alignhmr.training.calibration import Calibrated, calibrate
from alignhmr.training.mixture import Mixture

_HEADING = "## Calibration"


class _Prepared:
    """Prepared people were found already; nobody is looked for."""

    name, digest = "prepared", "0" * 64

    def find(self, picture: Picture) -> list[Person]:
        raise AssertionError("prepared people are not searched for")

    from_boxes = find  # type: ignore[assignment]


def run_calibrate(
    data: str, out: str | Path, *, base: str | Path = "starter", scorer: str | Path = "starter",
    body: str | Path = "open", device: str = "auto", people: int = 1000, hypotheses: int = 20, seed: int = 0,
    console: Console | None = None,
) -> Calibrated:  # fmt: skip
    """Writes the base model anew to ``out`` (.safetensors) with temperature and confidence, and its card beside it."""
    console, out = console or Console(stderr=True, highlight=False), Path(out)
    if out.suffix != ".safetensors":
        raise InputError(f"--out is {out}; name a file that ends in .safetensors")
    detector: Detector = _Prepared()  # type: ignore[assignment]
    torch.set_num_threads(1)
    torchvision_shim.install()
    recoverer = Recoverer.load(base=base, scorer=scorer, body=body, detector=detector, device=device)
    mixture = Mixture([(data, 1.0)], seed=seed, open_location=open_location)
    count = min(people, mixture.sources[0].rows)
    sightings = list(islice((row for batch in mixture.batches(50) for row in batch), count))
    with console.status(f"answering {count} people at several temperatures"):
        found = calibrate(
            recoverer, sightings, hypotheses=hypotheses, seed=seed,
            data=f"{count} people of {Path(data).name}, digest {mixture.digest[:16]}",
        )  # fmt: skip
    path = resolve(base, "base")
    info = read_info(path)
    config = {**info.config, "temperature": found.temperature}
    info = replace(info, config=config, confidence=found.confidence.to_dict())
    digest = save_checkpoint(out, recoverer.base, info, half=True)
    card = path.with_suffix(".md")
    if card.exists():
        _write_card(card.read_text(encoding="utf-8"), out.with_suffix(".md"), digest, found)
    console.print(_table(found))
    console.print(str(out), markup=False)
    return found


def lines_of(found: Calibrated) -> list[str]:
    """The card's section."""
    confidence = found.confidence
    lines = [
        _HEADING,
        "",
        f"On {confidence.data}, {confidence.hypotheses} hypotheses each; the curve and the coverage are of the half"
        " that the fit didn't see.",
        "",
        f"- temperature {found.temperature:g}: the least energy score"
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


def _write_card(text: str, path: Path, digest: str, found: Calibrated) -> None:
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
    path.write_text("\n".join([*lines, "", *lines_of(found), recipe]), encoding="utf-8")


def _table(found: Calibrated) -> Table:
    table = Table(title=f"temperature {found.temperature:g}, coverage {100 * found.coverage:.1f} % of 90 %")
    for name in ("spread mm", "actual mm", "expected mm", "actual mm"):
        table.add_column(name, justify="right")
    for before, after in zip(found.before.bins, found.after.bins, strict=True):
        numbers = (before.expected_mm, before.actual_mm, after.expected_mm, after.actual_mm)
        table.add_row(*(f"{number:.0f}" for number in numbers))
    return table
