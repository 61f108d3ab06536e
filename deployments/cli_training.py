"""The commands that train: base, scorer, text-pose, captioner, and alignment by preferences; ``cli.py`` names them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from alignhmr.deployments.cli_options import (
    Base,
    Body,
    Config,
    Device,
    Minutes,
    Out,
    Precision,
    Preset,
    Resume,
    Scorer,
    Seed,
)

Prepared = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FOLDER[=WEIGHT]",
        help="People written by 'alignhmr prepare', a folder or s3:// prefix, and their share of those shown;"
        " repeatable. Without any there are no pictures, only simulated detections.",
    ),
]

train_app = typer.Typer(
    help="Train a model: base, scorer, text-pose, captioner, or align the base by dpo, group or sft.",
    no_args_is_help=True,
)


HeldOut = Annotated[
    str | None,
    typer.Option(
        help="People of the test split, from 'alignhmr prepare', to judge by on the way and at the end."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Ray Train workers; they share every batch evenly.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Begin anew where a run in --out hasn't ended.")]
MlflowUri = Annotated[
    str | None, typer.Option(metavar="URI", help="Tell MLflow, too: a server's address or file:FOLDER.")
]

KeptLooks = Annotated[
    Path | None,
    typer.Option(
        "--looks", help="Folder that keeps what BlazePose sees of each person, for other runs; 50 kB a look."
    ),
]

Makers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Processes of each worker that make its batches; by default up to 8 for a GPU, none for a CPU.",
    ),
]


@train_app.command("base")
def train_base(
    out: Out, data: Prepared = None, held_out: HeldOut = None, workers: Workers = 1,
    init: Annotated[
        str | None, typer.Option(help="Base checkpoint to begin with: 'starter' or a .safetensors file.")
    ] = None,
    preset: Preset = "starter", config: Config = None, minutes: Minutes = None, seed: Seed = 0,
    resume: Resume = False, overwrite: Overwrite = False, mlflow: MlflowUri = None, device: Device = "auto",
    body: Body = "open", looks: KeptLooks = None, makers: Makers = None,
) -> None:  # fmt: skip
    """Train the base model on Ray Train, on prepared people and simulated detections; TensorBoard files in --out."""
    from alignhmr.deployments.model_training import Launch, run_base

    launch = Launch(
        preset, out, data or [], held_out, workers, device, minutes, seed, resume, overwrite, body, config, mlflow,
        looks, makers,
    )  # fmt: skip
    run_base(launch, init=init)


@train_app.command("scorer")
def train_scorer(
    out: Out, data: Prepared = None, held_out: HeldOut = None, workers: Workers = 1, base: Base = "starter",
    preset: Preset = "starter", config: Config = None, minutes: Minutes = None, seed: Seed = 0,
    resume: Resume = False, overwrite: Overwrite = False, mlflow: MlflowUri = None, device: Device = "auto",
    body: Body = "open", looks: KeptLooks = None, makers: Makers = None,
) -> None:  # fmt: skip
    """Train an HMR-Scorer on Ray Train, on a base model's hypotheses about prepared and made people."""
    from alignhmr.deployments.model_training import Launch, run_scorer

    launch = Launch(
        preset, out, data or [], held_out, workers, device, minutes, seed, resume, overwrite, body, config, mlflow,
        looks, makers,
    )  # fmt: skip
    run_scorer(launch, base=base)


@train_app.command("text-pose")
def train_text_pose(
    out: Out, workers: Workers = 1, preset: Preset = "starter", config: Config = None, minutes: Minutes = None,
    seed: Seed = 0, resume: Resume = False, overwrite: Overwrite = False, mlflow: MlflowUri = None,
    device: Device = "auto", body: Body = "open", makers: Makers = None,
) -> None:  # fmt: skip
    """Train the space where text and pose meet: a pose VQ-VAE, and captions of posecodes beside it."""
    from alignhmr.deployments.model_training import Launch, run_text_pose

    launch = Launch(
        preset, out, (), None, workers, device, minutes, seed, resume, overwrite, body, config, mlflow,
        makers=makers,
    )  # fmt: skip
    run_text_pose(launch)


@train_app.command("captioner")
def train_captioner(
    out: Out, data: Prepared = None, held_out: HeldOut = None, workers: Workers = 1,
    init: Annotated[
        str | None,
        typer.Option(help="Folder of a vision-language model to tune; without, the starter's is taught anew."),
    ] = None,
    preset: Preset = "starter", config: Config = None, minutes: Minutes = None, seed: Seed = 0,
    resume: Resume = False, overwrite: Overwrite = False, mlflow: MlflowUri = None, device: Device = "auto",
    body: Body = "open", makers: Makers = None,
) -> None:  # fmt: skip
    """Train a vision-language model that describes poses in posecodes; a folder that vLLM serves comes of it."""
    from alignhmr.deployments.model_training import Launch, run_captioner

    launch = Launch(
        preset, out, data or [], held_out, workers, device, minutes, seed, resume, overwrite, body, config, mlflow,
        makers=makers,
    )  # fmt: skip
    run_captioner(launch, init=init)


def _align(objective: Literal["dpo", "group", "sft"], help: str) -> None:
    @train_app.command(objective, help=help)
    def command(
        data: Annotated[
            str, typer.Option(help="Rows written by 'alignhmr label': a folder or s3:// prefix.")
        ],
        out: Out,
        base: Base = "starter",
        scorer: Scorer = "starter",
        workers: Annotated[int, typer.Option(min=1, help="Ray Train workers.")] = 2,
        preset: Preset = "starter",
        config: Config = None,
        steps: Annotated[
            int | None,
            typer.Option(
                min=1, help="Optimiser steps, at most. This and what follows replaces the preset's."
            ),
        ] = None,
        beta: Annotated[
            float | None,
            typer.Option(min=0, help="Weight of the preference against staying with the reference."),
        ] = None,
        anchor: Annotated[
            float | None, typer.Option(min=0, help="Weight that holds the winner's own loss down.")
        ] = None,
        learning_rate: Annotated[float | None, typer.Option("--lr", min=0, help="Learning rate.")] = None,
        batch_size: Annotated[
            int | None, typer.Option(min=1, help="Preferences a step, over all workers.")
        ] = None,
        draws: Annotated[
            int | None,
            typer.Option(min=1, help="Draws of noise and timestep that each preference is met under."),
        ] = None,
        accumulate: Annotated[
            int | None,
            typer.Option(min=1, help="Parts in which a batch is met: the same result in less memory."),
        ] = None,
        precision: Annotated[Precision | None, typer.Option(help="Of the denoiser's products.")] = None,
        rank: Annotated[
            int | None,
            typer.Option(min=0, help="Rank of what each layer learns (LoRA); 0 for all its weights."),
        ] = None,
        reference_cache: Annotated[
            Path | None, typer.Option(help="Folder for the reference's losses, shared by runs.")
        ] = None,
        seed: Seed = 0,
        device: Device = "auto",
        body: Body = "open",
    ) -> None:
        from alignhmr.deployments.training_jobs import run_dpo

        run_dpo(
            data, out, base=base, scorer=scorer, workers=workers, preset=preset, config=config, steps=steps, beta=beta,
            anchor=anchor, learning_rate=learning_rate, batch_size=batch_size, draws=draws, accumulate=accumulate,
            precision=None if precision is None else precision.value, rank=rank, seed=seed, device=device, body=body,
            objective=objective, cache=reference_cache,
        )  # fmt: skip


_align("dpo", "Align the base to mined pairs by Diffusion-DPO, on Ray Train; before and after in one table.")
_align("group", "The same by the advantages of all draws of each person.")
_align("sft", "The same by winners alone: what the other two have to beat.")


def improve(
    source: Annotated[list[str], typer.Argument(help="Pictures, as for 'alignhmr label'.")],
    out: Out,
    rounds: Annotated[int, typer.Option(min=1, help="Times to label, align and judge.")] = 2,
    objective: Annotated[str, typer.Option(help="dpo, group or sft.")] = "dpo",
    base: Base = "starter",
    scorer: Scorer = "starter",
    hypotheses: Annotated[int, typer.Option(min=4, help="Of each person.")] = 20,
    preset: Preset = "starter",
    config: Config = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps of a round, at most; by default the preset's.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Ray Train workers.")] = 2,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N pictures.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    body: Body = "open",
) -> None:
    """Label your pictures, align the model to what was preferred, judge on a held-out share, keep the better; again."""
    from alignhmr.deployments.improve import run

    if objective not in ("dpo", "group", "sft"):
        raise typer.BadParameter(f"{objective!r} is no objective; choose dpo, group or sft")
    run(
        source[0] if len(source) == 1 else source, out, rounds=rounds, objective=objective, base=base, scorer=scorer,
        body=body, hypotheses=hypotheses, preset=preset, config=config, steps=steps, workers=workers, seed=seed,
        device=device, limit=limit,
    )  # fmt: skip
