"""``alignhmr plan``: rates and prices to a table, or the same as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alignhmr.deployments.planning.prices import Prices, load_prices
from alignhmr.deployments.planning.rates import Rates, load_rates
from alignhmr.deployments.planning.sizing import Plan, plan


def run(
    images: int, prices: str | Path, *, rates: str | Path | None = None, deadline_h: float | None = None,
    budget: float | None = None, image_bytes: float | None = None, as_json: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Prints the plan and returns what ``--json`` prints. InputError where it can't be made."""
    table, known = load_prices(prices), load_rates(rates)
    if image_bytes is not None:
        known = known.model_copy(update={"image_bytes": image_bytes})
    found = plan(images, known, table, deadline_h=deadline_h, budget=budget)
    told = told_of(found, known, table)
    console = console or Console()
    if as_json:
        console.print_json(json.dumps(told))
    else:
        _show(console, found, known, table)
    return told


def told_of(found: Plan, rates: Rates, prices: Prices) -> dict[str, Any]:
    return asdict(found) | {
        "cost": round(found.cost, 2), "currency": prices.currency, "prices": prices.source,
        "cost_per_1000_images": round(1000 * found.cost / found.images, 6), "measured": rates.measured,
        "notes": notes_of(found, rates),
    }  # fmt: skip


def notes_of(found: Plan, rates: Rates) -> list[str]:
    """What a reader must know beside the numbers."""
    notes = []
    if found.runs > 1:
        notes.append(
            f"one run would have blocks of {found.crowded_block:,} pictures instead of {rates.images_per_block:,}:"
            f" cut the source into {found.runs} runs, each with an --out of its own"
        )
    if found.bottleneck["pool"] == "driver":
        notes.append(
            "the ledger of one run sets the pace: several runs at a time, each on its own driver, go faster"
        )
    if "caption" not in rates.stages:
        notes.append(
            "captions are those of the pose: what a vision-language model takes wasn't measured; give --rates a file"
            " with a stage caption"
        )
    return notes


def _show(console: Console, found: Plan, rates: Rates, prices: Prices) -> None:
    title = f"{found.images:,} pictures: {_time(found.hours)}, {_money(found.cost)} {prices.currency}"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("how much", justify="right")
    table.add_column("of what", overflow="fold")
    for pool in found.pools:
        for kind, count in pool.machines.items():
            cost = f"{_money(found.costs[kind])} {prices.currency}"
            table.add_row(
                f"{count:,} x {escape(kind)}", cost, f"{', '.join(pool.stages)} ({_use(pool, found)})"
            )
    for name in ("head", "requests", "bringing", "keeping"):
        if found.costs[name]:
            table.add_row(name, f"{_money(found.costs[name])} {prices.currency}", _meant(name, found))
    table.add_row("of 1,000 pictures", f"{1000 * found.cost / found.images:.4g} {prices.currency}", "")
    table.add_section()
    for name, hours in found.phases_h.items():
        table.add_row(name, _time(hours), f"{found.images_per_s:,.1f} pictures/s" * (name == "labelling"))
    table.add_section()
    for name, count in found.workers.items():
        table.add_row(f"workers of {name}", f"{count:,}", f"{rates.stages[name].worker_s:.3g} s a picture")
    table.add_section()
    for name, gib in found.storage_gib.items():
        table.add_row(name, _bytes(gib), "a run, on the driver's disk" * (name == "books"))
    table.add_row("parts", f"{found.parts:,}", f"of {rates.images_per_block:,} pictures")
    console.print(table)
    slow = found.bottleneck
    console.print(f"bottleneck: {slow['stage']} ({slow['resource']} of the {slow['pool']} machines)")
    for note in notes_of(found, rates):
        console.print(f"[yellow]note:[/] {note}")
    where = ", ".join(f"{name} {text}" for name, text in rates.measured.items())
    console.print(f"rates: {where}\nprices: {prices.source}", highlight=False, markup=False, soft_wrap=True)


def _use(pool: Any, found: Plan) -> str:
    return f"{100 * found.images_per_s / pool.images_per_s:.0f} % used; scarce: {pool.scarce}"


def _meant(name: str, found: Plan) -> str:
    if name == "requests":
        return ", ".join(f"{count:,} {kind}" for kind, count in found.requests.items())
    of = {"bringing": "pictures", "keeping": "rows"}.get(name)
    return _bytes(found.storage_gib[of]) + f" of {of}" if of else ""


def _time(hours: float) -> str:
    if hours < 1.5:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _money(value: float) -> str:
    return f"{value:,.2f}"


def _bytes(gib: float) -> str:
    return f"{gib:,.1f} GiB" if gib < 1024 else f"{gib / 1024:,.1f} TiB"
