"""``alignhmr label`` and ``alignhmr rows``: options and help texts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from alignhmr.deployments.cli_options import Config, checked_detector, checked_device


def label(
    source: Annotated[
        list[str],
        typer.Argument(
            help="Folder, image, glob, s3://bucket/prefix, .txt/.csv/.jsonl/.parquet list, .parquet of images, .tar."
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or s3:// prefix for the rows.")],
    hypotheses: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Hypotheses per person. [preset: 20]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run. [preset: 0]")] = None,
    captioner: Annotated[
        str | None,
        typer.Option(
            help="pose, vllm:MODEL (starter, qwen3-vl-2b to -235b, or a folder), or http:URL of an OpenAI-compatible"
            " server. [preset: pose]"
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Settings to start from: laptop, single-gpu or cluster.")
    ] = "laptop",
    config: Config = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="blazepose, or rtdetr-vitpose[:DETECTOR,POSE]. [preset: blazepose]",
            callback=checked_detector,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N. [preset: auto]", callback=checked_device)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N pictures.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model. [preset: starter]")] = None,
    scorer: Annotated[str | None, typer.Option(help="HMR-Scorer. [preset: starter]")] = None,
    body: Annotated[str | None, typer.Option(help="Body model. [preset: open]")] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of a list or table that holds the pictures.")
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="Fetch http(s) pictures; private addresses and opt-outs are refused."),
    ] = False,
    retry_failed: Annotated[
        str | None,
        typer.Option(help="Do error rows again: 'all', or codes with commas, such as read_failed,timed_out."),
    ] = None,
    clean: Annotated[
        bool,
        typer.Option(
            "--clean",
            help="SOURCE is a run's --out: score its rows anew, and say keep, relabel or drop.",
        ),
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=1, help="With --clean: a label is right if its error is at most so many mm.")
    ] = 150.0,
    precision: Annotated[
        float,
        typer.Option(min=0.01, max=0.999, help="With --clean: share of kept labels that shall be right."),
    ] = 0.9,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another run in --out.")] = False,
) -> None:
    """Label pictures: people, captions, hypotheses, scores and preference pairs, as Parquet rows.

    The same command goes on where a run was cut short.
    """
    from alignhmr.core.scoring.cleaning import CleaningRule
    from alignhmr.deployments.labeling.command import run

    codes = [
        code.strip() for code in (retry_failed or "").split(",") if code.strip() and code.strip() != "all"
    ]
    run(
        source[0] if len(source) == 1 else source, out, hypotheses=hypotheses, seed=seed, captioner=captioner,
        preset=preset, config=config, detector=detector, device=device, limit=limit, base=base, scorer=scorer,
        body=body, column=column, fetch=fetch or None, retry_failed=None if retry_failed is None else codes,
        clean=CleaningRule(tolerance, precision) if clean else None, overwrite=overwrite,
    )  # fmt: skip


class RowFormat(StrEnum):
    coco = "coco"
    npz = "npz"


rows_app = typer.Typer(help="Look into labelled rows: count, show, compare, export.", no_args_is_help=True)
Out = Annotated[str, typer.Argument(help="Folder or s3:// prefix of a labelling run.")]


@rows_app.command()
def count(out: Out) -> None:
    """Rows by error code, pictures and people."""
    from alignhmr.deployments.labeling.rows_command import count as run

    run(out)


@rows_app.command()
def show(
    out: Out,
    row: Annotated[
        str, typer.Argument(help="SHA-256 of the picture (its first digits do), or part of its location.")
    ],
    person: Annotated[int | None, typer.Option(min=0, help="Only this person.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the pictures. [none]")] = None,
) -> None:
    """What a row says, and its pictures: the view that the models saw, and the hypotheses drawn over it."""
    from alignhmr.deployments.labeling.rows_command import show as run

    run(out, row, person=person, to=to)


@rows_app.command()
def disagreements(
    out: Out, most: Annotated[int, typer.Option("--most", min=1, help="At most so many.")] = 20
) -> None:
    """People whose caption and pose contradict each other, the most contradicted first."""
    from alignhmr.deployments.labeling.rows_command import disagreements as run

    run(out, most=most)


@rows_app.command()
def export(
    out: Out,
    to: Annotated[Path, typer.Option("--to", help="File (.json) for coco, folder for npz.")],
    format_: Annotated[RowFormat, typer.Option("--format", help="coco: one JSON; npz: a file per picture.")],
    hypotheses: Annotated[
        bool, typer.Option(help="npz: every hypothesis, not only the selected one.")
    ] = True,
) -> None:
    """Write the rows in a form that other tools read."""
    from alignhmr.deployments.labeling.rows_command import export as run

    run(out, to, format_.value, hypotheses=hypotheses)
