"""The command that searches labelled people by words; ``cli.py`` names it."""

from typing import Annotated

import typer

TextPose = Annotated[str, typer.Option("--model", help="Text-pose space: 'starter' or a .safetensors file.")]


def find(
    query: Annotated[str, typer.Argument(help="What to look for, such as 'kneeling, right arm raised'.")],
    rows: Annotated[str, typer.Option("--in", help="What 'alignhmr label' wrote: a folder or s3:// prefix.")],
    top: Annotated[int, typer.Option(min=1, help="So many people at most.")] = 10,
    model: TextPose = "starter",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a table.")] = False,
) -> None:
    """Search labelled people by words: the poses that match best, best first."""
    from alignhmr.deployments.find import run

    run(query, rows, top=top, model=model, as_json=as_json)
