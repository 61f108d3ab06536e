"""Captioning in the pipeline beside the engine alone: how much of vLLM's own rate is left, once both are warm.

The same pictures, question, sampling and engine settings on both sides, in processes of their own, one after the other.
The engine's rate is that of `vllm.LLM.chat` given all pictures at once; the pipeline's is the caption stage of
`alignhmr label` on Ray Data (packing, preparing, the engine, reading the answers), from the first quarter of what comes
out of it to the end. ``start_s`` are the seconds until the engine, or the stage, gave its first answer.
"""

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import finish

from alignhmr.core.language.vlm_folder import shown_to
from alignhmr.deployments.labeling.captioning import make_captioner
from alignhmr.deployments.labeling.config import LabelConfig, load_config
from alignhmr.deployments.labeling.vllm_captioning import VllmCaptioner

_WARM_SHARE = 0.25
_SEQUENCES = 32
"""Answers that the engine writes at once."""


def config_of(model: str) -> LabelConfig:
    over = {
        "captions.engine": f"vllm:{model}", "resources.vllm.max_num_seqs": _SEQUENCES,
        "resources.caption.batch_size": _SEQUENCES, "resources.images_per_block": _SEQUENCES,
    }  # fmt: skip
    return load_config("laptop", None, over)


def captioner_of(model: str) -> VllmCaptioner:
    config = config_of(model)
    captioner = make_captioner(config, "cpu")
    assert isinstance(captioner, VllmCaptioner)
    captioner.check()
    return captioner


def pictures(side: int, count: int) -> list[bytes]:
    """JPEGs of noise with a drawing's many colours; each its own, so that nothing is found in a cache."""
    from PIL import Image

    random, made = np.random.default_rng(0), []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (9, 9, 3), np.uint8))
        buffer = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
        made.append(buffer.getvalue())
    return made


def engine_alone(model: str, count: int) -> dict[str, float]:
    """In this process, which ends with it."""
    import os

    from alignhmr.deployments import torchvision_shim

    torchvision_shim.install(children=True)
    captioner = captioner_of(model)
    engine = captioner.engine_settings()
    os.environ |= captioner.variables()
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    begun = time.perf_counter()
    llm = LLM(model=captioner.model, **engine)
    rows = [captioner.ask({"jpeg": jpeg}) for jpeg in pictures(_side(captioner), count + _SEQUENCES)]
    sampling = dict(rows[0]["sampling_params"])
    if (structured := sampling.pop("structured_outputs", None)) is not None:
        sampling["structured_outputs"] = StructuredOutputsParams(**structured)
    params = SamplingParams(**sampling)
    messages = [row["messages"] for row in rows]
    llm.chat(messages[:_SEQUENCES], params, use_tqdm=False)
    start = time.perf_counter()
    answers = llm.chat(messages[_SEQUENCES:], params, use_tqdm=False)
    seconds = time.perf_counter() - start
    tokens = sum(len(answer.outputs[0].token_ids) for answer in answers)
    return {"rate": count / seconds, "tokens_each": tokens / count, "start_s": start - begun}


def in_pipeline(model: str, count: int) -> dict[str, float]:
    import pyarrow as pa
    import ray

    from alignhmr.deployments.labeling.people import PEOPLE_SCHEMA
    from alignhmr.deployments.runtime import start_ray

    captioner = captioner_of(model)
    jpegs = pictures(_side(captioner), count + _SEQUENCES)
    tables = [
        pa.Table.from_pylist(
            [{"uri": str(first + i), "person_index": 0, "crop_jpeg": jpeg} for i, jpeg in enumerate(some)],
            schema=PEOPLE_SCHEMA,
        )
        for first in range(0, len(jpegs), _SEQUENCES)
        if (some := jpegs[first : first + _SEQUENCES])
    ]
    begun = time.perf_counter()
    start_ray()
    people = ray.data.from_arrow(tables)
    came, rows, whole = [], [], 0
    batch: Any
    for batch in captioner.before_recovery(people).iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    ):
        came.append(time.perf_counter())
        rows.append(batch.num_rows)
        whole += batch.column("caption_error").null_count
    done = np.cumsum(rows)
    warm = int(np.searchsorted(done, _WARM_SHARE * done[-1]))
    assert done[-1] == len(jpegs)
    return {
        "rate": float((done[-1] - done[warm]) / (came[-1] - came[warm])),
        "start_s": came[0] - begun,
        "whole_answers": whole / len(jpegs),
    }


def _side(captioner: VllmCaptioner) -> int:
    shown = shown_to(Path(captioner.model))
    return shown.picture_px if shown is not None else captioner.captions.max_side_px


SIDES = {"engine": engine_alone, "pipeline": in_pipeline}


def measured(side: str, model: str, count: int) -> dict[str, float]:
    """In a process of its own: an engine holds its threads and memory until its process ends."""
    command = [sys.executable, __file__, "--side", side, "--model", model, "--people", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer pictures; two engines start, which takes longest"
    )
    parser.add_argument("--model", default="starter")
    parser.add_argument("--people", type=int)
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    count = options.people or (96 if options.quick else 960)
    if options.side:
        print(json.dumps(SIDES[options.side](options.model, count)))
        return
    found: dict[str, Any] = {side: measured(side, options.model, count) for side in SIDES}
    ratio = found["pipeline"]["rate"] / found["engine"]["rate"]
    rounded = {
        f"{side}_{name}": round(value, 3) for side, values in found.items() for name, value in values.items()
    }
    values: dict[str, object] = {"pipeline_to_engine_ratio": round(ratio, 3), **rounded, "people": count}
    finish("caption", values | {"model": options.model}, quick=options.quick)


if __name__ == "__main__":
    main()
