"""Commands of whoever operates the service; ``cli.py`` names them."""

from typing import Annotated

import typer

KeyFile = Annotated[str, typer.Argument(help="The key file: a path or s3://.", show_default=False)]
Name = Annotated[str, typer.Argument(help="Whose key it is: letters, digits and ._-", show_default=False)]

keys_app = typer.Typer(help="API keys of the service: make, list, take back.", no_args_is_help=True)


@keys_app.command("add")
def add(
    file: KeyFile,
    name: Name,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests a second; any number if left out.")
    ] = None,
    quota: Annotated[int | None, typer.Option(min=1, help="Pictures a day; any number if left out.")] = None,
) -> None:
    """Make a key and print it, once: the file keeps its hash only."""
    from alignhmr.deployments.serving.keys import add_key

    typer.echo(add_key(file, name, rate_per_s=rate, pictures_per_day=quota))


@keys_app.command("list")
def list_(file: KeyFile) -> None:
    """Show whose keys there are, and what each may do."""
    from alignhmr.deployments.serving.keys import read_keys

    for key in read_keys(file):
        rate = "any rate" if key.rate_per_s is None else f"{key.rate_per_s:g} requests/s"
        quota = "any number" if key.pictures_per_day is None else f"{key.pictures_per_day} pictures/day"
        typer.echo(f"{key.name}\t{rate}\t{quota}")


@keys_app.command("remove")
def remove(file: KeyFile, name: Name) -> None:
    """Take a key back; running services notice within seconds."""
    from alignhmr.deployments.serving.keys import remove_key

    remove_key(file, name)


def promote(
    location: Annotated[str, typer.Argument(help="Where the canary keeps its comparisons: a path or s3://.")],
    checkpoint: Annotated[str, typer.Argument(help="The candidate's name in the service's settings.")],
    rollback: Annotated[bool, typer.Option("--rollback", help="Give it no pictures at all.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the scorer made of it.")] = False,
    at_least: Annotated[
        int, typer.Option(min=1, help="People to be compared before it can be promoted.")
    ] = 100,
) -> None:
    """Give a canary's candidate all pictures, or none, by what the scorer makes of both checkpoints."""
    from alignhmr.deployments.serving.promote import run

    run(location, checkpoint, rollback=rollback, force=force, at_least=at_least)
