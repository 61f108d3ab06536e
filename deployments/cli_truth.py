"""The commands around truth: made people, people prepared for training, evaluation; ``cli.py`` names them."""

from pathlib import Path
from typing import Annotated

import typer

from alignhmr.deployments.cli_options import (
    Base,
    Body,
    Boxes,
    Detector,
    Device,
    EvaluatedSystem,
    Hypotheses,
    Intrinsics,
    Kept,
    Scorer,
    Seed,
)


def evaluate(
    benchmarks: Annotated[
        list[str] | None,
        typer.Argument(help="studio, wild, crowd, target, pose2sim4, 3dpw:PATH and the like, or a folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for records, predictions, table and page.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Instead: two folders or records; says whether the difference is real."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Instead: write the benchmarks' pictures, boxes and cameras for another system."),
    ] = None,
    system: Annotated[EvaluatedSystem, typer.Option(help="Who answers.")] = EvaluatedSystem.alignhmr,
    predictions: Annotated[
        Path | None, typer.Option(help="Another system's answers (Parquet), under its own terms.")
    ] = None,
    base: Base = "starter",
    scorer: Scorer = "starter",
    body: Body = "open",
    detector: Detector = "blazepose",
    hypotheses: Hypotheses = 20,
    count: Annotated[int | None, typer.Option(min=1, help="Only so many samples of each.")] = None,
    seed: Seed = 0,
    joints: Annotated[
        str, typer.Option(help="Joint set: limbs12, coco17, smpl24, h36m17 or h36m14.")
    ] = "limbs12",
    boxes: Annotated[Boxes, typer.Option(help="Whether the true boxes are given.")] = Boxes.given,
    intrinsics: Annotated[
        Intrinsics, typer.Option(help="Whether the true camera is given.")
    ] = Intrinsics.given,
    without: Annotated[
        list[Kept] | None, typer.Option(help="Evidence to keep from alignhmr, to see what it is worth.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Measure a system against the truth: a record, a table and a page with the worst cases."""
    if compare is not None:
        from alignhmr.deployments.evaluation.command import run_compare

        run_compare(*compare)
        return
    if not benchmarks:
        raise typer.BadParameter(
            "name at least one, such as wild, or give --compare A B", param_hint="BENCHMARK"
        )
    if export is not None:
        from alignhmr.deployments.evaluation.export import run as run_export

        run_export(benchmarks, export, count=count, seed=seed)
        return
    if out is None:
        raise typer.BadParameter("give a folder for the results", param_hint="--out")
    from alignhmr.deployments.evaluation.command import Options, run

    run(
        benchmarks, out,
        Options(
            system=system.value, predictions=predictions, base=base, scorer=scorer, body=body, detector=detector,
            device=device, hypotheses=hypotheses, joints=joints, boxes=boxes.value, intrinsics=intrinsics.value,
            count=count, seed=seed, without=tuple(kind.value for kind in without or ()),
        ),
    )  # fmt: skip


def synth(
    domain: Annotated[str, typer.Option(help="studio, wild, crowd or target.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or s3:// prefix for the samples.")],
    split: Annotated[
        str, typer.Option(help="train or test: they share no motion clip and no family of scenes.")
    ] = "train",
    seed: Seed = 0,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Side of the square pictures in pixels.")] = 256,
    format_: Annotated[str, typer.Option("--format", help="parquet or webdataset.")] = "parquet",
    motion: Annotated[
        Path | None, typer.Option(help="Folder of your own motion: BVH (CMU names), AMASS .npz.")
    ] = None,
    backgrounds: Annotated[
        Path | None, typer.Option(help="Folder of your own photos, without people, to stand in.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that draw. [one a core]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other samples in --out.")] = False,
) -> None:
    """Draw made people with truth: pose, shape, camera, joints, visibility, masks. Cut short, it goes on."""
    from alignhmr.deployments.synth import run

    run(
        domain, count, out, split=split, seed=seed, size_px=size, format=format_, motion=motion,
        backgrounds=backgrounds, workers=workers, overwrite=overwrite,
    )  # fmt: skip


def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="studio, wild, crowd or target (made as they are needed), a folder or s3:// prefix written by"
            " `alignhmr synth`, or a data set with body parameters, as 3dpw/train:PATH."
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or s3:// prefix for the people.")],
    count: Annotated[
        int | None, typer.Option(min=1, help="Pictures; of a folder or a data set all, if not given.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of made people: train or test. [train]")] = None,
    seed: Seed = 0,
    shard: Annotated[int, typer.Option(min=1, help="Pictures a file.")] = 250,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that look. [one a core]")] = None,
    detector: Detector = "blazepose",
    motion: Annotated[
        Path | None, typer.Option(help="For made people, your own motion: BVH (CMU names), AMASS .npz.")
    ] = None,
    backgrounds: Annotated[
        Path | None, typer.Option(help="For made people, your own photos, without people, to stand in.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other people in --out.")] = False,
) -> None:
    """Prepare people for training: what the detector says of each, once, beside the truth. Cut short, it goes on."""
    from alignhmr.deployments.prepare import run

    run(
        source, out, split=split, count=count, seed=seed, shard_pictures=shard, workers=workers, detector=detector,
        motion=motion, backgrounds=backgrounds, overwrite=overwrite,
    )  # fmt: skip


def calibrate(
    data: Annotated[
        str, typer.Argument(help="People to measure on, from `alignhmr prepare`; never trained on.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the calibrated base and scorer.")],
    base: Base = "starter",
    scorer: Scorer = "starter",
    body: Body = "open",
    people: Annotated[int, typer.Option(min=100, help="At most so many of them.")] = 1000,
    hypotheses: Hypotheses = 20,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Settle how far hypotheses spread, and what spreads and scores say in mm of error, on people with a truth."""
    from alignhmr.deployments.calibrate import run_calibrate

    run_calibrate(
        data,
        out,
        base=base,
        scorer=scorer,
        body=body,
        people=people,
        hypotheses=hypotheses,
        seed=seed,
        device=device,
    )


def clean(
    data: Annotated[
        str, typer.Argument(help="Labelled people, from `alignhmr prepare`: a folder or s3:// prefix.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for who is left, manifest and report.")],
    tolerance: Annotated[
        float, typer.Option(min=1, help="A label is right if its error is at most so many mm.")
    ] = 150.0,
    precision: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Share of the kept labels that shall be right.")
    ] = 0.9,
    relabel: Annotated[
        bool, typer.Option(help="Replace a bad label by the model's answer where that is clearly better.")
    ] = True,
    base: Base = "starter",
    scorer: Scorer = "starter",
    body: Body = "open",
    hypotheses: Hypotheses = 20,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that judge. [one a core]")] = None,
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")] = False,
) -> None:
    """Clean labels: keep the ones to be trusted, replace or drop the others, and show examples."""
    from alignhmr.core.scoring.cleaning import CleaningRule
    from alignhmr.deployments.cleaning.command import run_clean

    run_clean(
        data, out, rule=CleaningRule(tolerance, precision), relabel=relabel, base=base, scorer=scorer, body=body,
        hypotheses=hypotheses, workers=workers, seed=seed, overwrite=overwrite,
    )  # fmt: skip
