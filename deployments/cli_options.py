"""Options that several commands share, and how their values are read."""

import re
import shlex
import shutil
import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer


class Resolution(StrEnum):
    full = "full"
    small = "small"


class EvaluatedSystem(StrEnum):
    alignhmr = "alignhmr"
    detector3d = "detector3d"


class Boxes(StrEnum):
    given = "given"
    detected = "detected"


class Kept(StrEnum):
    image = "image"
    keypoints = "keypoints"


class Precision(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"


class Intrinsics(StrEnum):
    given = "given"
    default = "default"


def checked_detector(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"blazepose|rtdetr-vitpose(:[^,]+,[^,]+)?", value):
        raise typer.BadParameter(
            f"{value!r} is not blazepose, rtdetr-vitpose or rtdetr-vitpose:DETECTOR,POSE"
        )
    return value


def checked_device(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise typer.BadParameter(f"{value!r} is not auto, cpu, cuda or cuda:N")
    return value


Base = Annotated[str, typer.Option(help="Base model: 'starter' or a .safetensors file.")]
Scorer = Annotated[str, typer.Option(help="HMR-Scorer: 'starter' or a .safetensors file.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", callback=checked_device)]
Detector = Annotated[
    str,
    typer.Option(
        help="Who finds people: blazepose, or rtdetr-vitpose[:DETECTOR,POSE] with models of your own.",
        callback=checked_detector,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same answers.")]
Hypotheses = Annotated[int, typer.Option(min=1, max=1000, help="Hypotheses per person.")]
Body = Annotated[str, typer.Option(help="Body model: 'open' or a file made by 'alignhmr body import'.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the checkpoint, its card and metrics.")]
Minutes = Annotated[
    float | None, typer.Option(min=0.05, help="Train for about this long instead of the preset's steps.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on, exactly, where the run in --out stopped.")]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads that find people; the answers don't depend on it. Left out: 2 where there are cores to spare.",
    ),
]
Preset = Annotated[str, typer.Option(help="Named settings to start from.")]
Config = Annotated[Path | None, typer.Option(help="YAML file laid over the preset.")]


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alignhmr {version('alignhmr')}")
        raise typer.Exit


def invocation() -> str:
    """How this program is called from the shell that called it: by name where that finds it, else by path."""
    program = Path(sys.executable).with_name("alignhmr")
    found = shutil.which("alignhmr")
    if not program.exists() or (found and Path(found).resolve() == program.resolve()):
        return "alignhmr"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))


def refuse_given(context: typer.Context, *names: str) -> None:
    """What a service has decided can't be chosen beside --server."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"--{name} is settled by the service; leave it out, or --server")


def parse_box(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not x0,y0,x1,y1 in pixels", param_hint="--box") from None
    if not (x0 < x1 and y0 < y1):
        raise typer.BadParameter(f"{text!r} has no area; x0 < x1 and y0 < y1 are wanted", param_hint="--box")
    return x0, y0, x1, y1


def parse_formats(text: str) -> list[str]:
    known = ("json", "overlay", "glb", "obj", "npz", "bvh")
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in known]
    if unknown or not chosen:
        raise typer.BadParameter(f"{text!r}: choose from {', '.join(known)}", param_hint="--format")
    return chosen
