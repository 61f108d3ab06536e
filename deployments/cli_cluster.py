"""The commands of whoever runs machines: ``plan``, ``doctor``, ``status``; ``cli.py`` names them."""

import re
from pathlib import Path
from typing import Annotated

import typer

from alignhmr.deployments.cli_options import Base, Body, Scorer

_HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0}
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]


def _count(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < 1e15 or value != int(value):
        raise typer.BadParameter(f"{text!r} is not a number of pictures, such as 250000 or 1e9")
    return int(value)


def _hours(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if not found or not float(found[1]):
        raise typer.BadParameter(f"{text!r} is not a time, such as 90m, 36h or 7d")
    return float(found[1]) * _HOURS[found[2]]


def plan(
    images: Annotated[int, typer.Option(parser=_count, metavar="N", help="Pictures to label; 1e9 will do.")],
    prices: Annotated[Path, typer.Option(help="YAML with your machines, their prices and those of storage.")],
    rates: Annotated[
        str | None,
        typer.Option(
            help="A labelling run whose pace counts: its --out; or a .yaml of rates. [those that ship]"
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(parser=_hours, metavar="TIME", help="The cheapest that is done in 90m, 36h or 7d."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="The fastest that costs no more; with --deadline both hold.")
    ] = None,
    image_bytes: Annotated[float | None, typer.Option(min=1, help="Bytes of a picture, on average.")] = None,
    as_json: Json = False,
) -> None:
    """How many of which machines label so many pictures, how long it takes, what it costs, what is in the way."""
    from alignhmr.deployments.planning.command import run

    run(
        images, prices, rates=rates, deadline_h=deadline, budget=budget, image_bytes=image_bytes, as_json=as_json
    )  # fmt: skip


def doctor(
    s3: Annotated[
        str | None, typer.Option(metavar="URL", help="s3:// location to list, read and write a probe below.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve on.")] = 8000,
    base: Base = "starter",
    scorer: Scorer = "starter",
    body: Body = "open",
    ray: Annotated[bool, typer.Option("--ray/--no-ray", help="Run a task on Ray, too.")] = True,
    as_json: Json = False,
) -> None:
    """Look at what jobs need on this machine, and say how to mend what is wrong; exit code 4 if something is."""
    from alignhmr.deployments.doctor.command import run

    run(s3=s3, host=host, port=port, base=base, scorer=scorer, body=body, ray=ray, as_json=as_json)


def status(
    outs: Annotated[list[str], typer.Argument(help="What labelling and training write: their --out.")],
    as_json: Json = False,
) -> None:
    """How far jobs are: read from what they leave in their folders, wherever they run."""
    from alignhmr.deployments.status import run

    run(outs, as_json=as_json)
