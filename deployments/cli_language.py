"""The commands about words: describing people in photos, and searching labelled people; ``cli.py`` names them."""

from pathlib import Path
from typing import Annotated

import typer

from alignhmr.deployments.cli_options import Detector, Device

TextPose = Annotated[str, typer.Option("--model", help="Text-pose space: 'starter' or a .safetensors file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON array instead of text.")]


def caption(
    photos: Annotated[list[Path], typer.Argument(help="Photos.")],
    model: Annotated[
        str,
        typer.Option(help="'starter', or the folder of a vision-language model in Hugging Face's format."),
    ] = "starter",
    detector: Detector = "blazepose",
    device: Device = "auto",
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer, at most.")] = 1024,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for the pictures that the model was shown.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a vision-language model sees of each person's pose; in this process, without Ray or vLLM."""
    from alignhmr.deployments.caption_one import run

    run(
        photos, model=model, detector=detector, device=device, max_tokens=max_tokens, keep=keep, as_json=as_json
    )  # fmt: skip


def find(
    query: Annotated[str, typer.Argument(help="What to look for, such as 'kneeling, right arm raised'.")],
    rows: Annotated[str, typer.Option("--in", help="What 'alignhmr label' wrote: a folder or s3:// prefix.")],
    top: Annotated[int, typer.Option(min=1, help="So many people at most.")] = 10,
    model: TextPose = "starter",
    as_json: AsJson = False,
) -> None:
    """Search labelled people by words: the poses that match best, best first."""
    from alignhmr.deployments.find import run

    run(query, rows, top=top, model=model, as_json=as_json)
