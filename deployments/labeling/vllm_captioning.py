"""Captions by a vision-language model that vLLM runs inside the job, through ``ray.data.llm``."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignhmr.core.errors import CaptionerError
from alignhmr.core.language.captions import SCHEMA
from alignhmr.core.language.shown import Shown
from alignhmr.core.language.vlm_folder import resolve_vlm, shown_to
from alignhmr.deployments.labeling.config import Captions, Resources
from alignhmr.deployments.labeling.model_captions import as_it_is, caption_with, question, skip_mark
from alignhmr.deployments.labeling.vlm_sizes import QWEN3_VL

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from ray.data import Dataset

_SMALL_STAGE = 0.1
"""Slots of the stages beside the engine: they run for milliseconds a row."""
_HEAD = 1 << 20


class VllmCaptioner:
    """One engine for each worker of the caption stage, on a GPU or on a CPU."""

    def __init__(self, model: str, captions: Captions, resources: Resources, device: str) -> None:
        self.size = QWEN3_VL.get(model)
        self.model = self.size.hub if self.size else str(resolve_vlm(model))
        self.captions, self.resources = captions, resources
        self.on_cpu = device == "cpu"
        self.name = Path(self.model).name
        self.source = f"vlm:{self.name}"
        self.shown: Shown | None = captions.shown(shown_to(Path(self.model)))
        workers = resources.caption.workers
        self.num_cpus = workers * resources.caption.num_cpus + 5 * _SMALL_STAGE
        self.num_gpus = 0.0 if self.on_cpu else float(workers * (self.size.gpus if self.size else 1))

    def check(self) -> dict[str, str]:
        """Everything about vLLM and the model that can be known without starting the engine."""
        if importlib.util.find_spec("vllm") is None:
            extra = "vlm-cpu" if self.on_cpu else "vlm-gpu"
            raise CaptionerError(
                f"captions by {self.model!r} need vLLM, which is not installed; run pip install"
                f" 'alignhmr[{extra}]', or use --captioner pose"
            )
        folder = Path(self.model)
        if not folder.is_dir():
            folder = self._from_hub()
        return {"captioner": f"{self.name}:{_check_model_folder(folder)[:16]}"}

    def before_recovery(self, people: "Dataset") -> "Dataset":
        from ray.data.llm import build_processor

        processor = build_processor(
            self._engine_config(),
            preprocess=self.ask,
            postprocess=_answer,
            preprocess_map_kwargs={"num_cpus": _SMALL_STAGE},
            postprocess_map_kwargs={"num_cpus": _SMALL_STAGE},
        )
        return caption_with(
            people, processor, self.source, required=self.captions.required, answer="generated_text"
        )

    def ending(self) -> "Callable[[pa.Table], pa.Table]":
        return as_it_is

    def _from_hub(self) -> Path:
        from huggingface_hub import snapshot_download

        looks_like_path = self.model.startswith((".", "/")) or self.model.count("/") != 1
        try:
            if looks_like_path:
                raise FileNotFoundError("there is no such folder")
            return Path(snapshot_download(self.model))
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise CaptionerError(
                f"the vision-language model {self.model!r} can't be had: {reason}; give the folder of a"
                " downloaded model as --captioner vllm:FOLDER, or use --captioner pose"
            ) from error

    def engine_settings(self) -> dict[str, Any]:
        """As `vllm.LLM` takes them."""
        vllm = self.resources.vllm
        engine: dict[str, Any] = {
            "max_model_len": vllm.max_model_len,
            "max_num_seqs": vllm.max_num_seqs,
            "limit_mm_per_prompt": {"image": 1},
            "distributed_executor_backend": "uni",
        }
        if self.on_cpu:
            engine |= {"dtype": "float32", "enforce_eager": True}
        elif self.size:
            engine |= {"tensor_parallel_size": self.size.gpus, "max_num_seqs": self.size.max_num_seqs}
            if self.size.gpus > 1:
                engine["distributed_executor_backend"] = "ray"
        return engine | vllm.engine

    def variables(self) -> dict[str, str]:
        """Of the engine's process."""
        variables = {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
        if self.on_cpu:
            # In-process: each further process costs a start-up of half a minute on a small machine.
            variables |= {
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                "VLLM_CPU_KVCACHE_SPACE": str(self.resources.vllm.kv_cache_gib),
            }
        return variables

    def _engine_config(self) -> Any:
        from ray.data.llm import (
            ChatTemplateStageConfig,
            DetokenizeStageConfig,
            PrepareMultimodalStageConfig,
            TokenizerStageConfig,
            vLLMEngineProcessorConfig,
        )

        stage = self.resources.caption
        small = {"num_cpus": _SMALL_STAGE, "concurrency": 1}
        return vLLMEngineProcessorConfig(
            model_source=self.model,
            engine_kwargs=self.engine_settings(),
            runtime_env={"env_vars": self.variables()},
            concurrency=stage.workers if stage.most == stage.workers else (stage.workers, stage.most),
            batch_size=stage.batch_size,
            accelerator_type=None,
            should_continue_on_error=True,
            log_engine_metrics=False,
            placement_group_config={"bundles": [{"CPU": max(1, stage.num_cpus)}]} if self.on_cpu else None,
            prepare_multimodal_stage=PrepareMultimodalStageConfig(enabled=True, **small),
            chat_template_stage=ChatTemplateStageConfig(enabled=True, **small),
            tokenize_stage=TokenizerStageConfig(enabled=False),
            detokenize_stage=DetokenizeStageConfig(enabled=False),
        )

    def ask(self, row: dict[str, Any]) -> dict[str, Any]:
        """What the engine is sent about the person in the row's ``jpeg``."""
        sampling: dict[str, Any] = {"temperature": 0.0, "max_tokens": self.captions.max_tokens}
        if self.captions.constrained:
            sampling["structured_outputs"] = {"json": json.dumps(SCHEMA)}
        return {
            "messages": question(row["jpeg"]),
            "sampling_params": sampling,
            "__inference_error__": skip_mark(row["jpeg"]),
            "generated_text": "",
            "jpeg": None,
        }


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    return {"row": row["row"], "generated_text": row["generated_text"]}


def _check_model_folder(folder: Path) -> str:
    """SHA-256 of the model's files, read at their ends; CaptionerError if it can't be a whole model."""
    try:
        config = json.loads((folder / "config.json").read_text())
        architectures = config.get("architectures")
    except (OSError, ValueError, AttributeError) as error:
        raise _bad_model(folder, f"its config.json can't be read ({error})") from error
    if not architectures:
        raise _bad_model(folder, "its config.json names no architecture")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        raise _bad_model(folder, "it has no .safetensors weights")
    if not any(path.name in ("tokenizer.json", "tokenizer_config.json", "vocab.json") for path in files):
        raise _bad_model(folder, "it has no tokenizer")
    for path in weights:
        _check_whole(folder, path)
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}:{size}\n".encode())
        # Tens of gigabytes aren't read for a name: heads, tails and small files tell models apart.
        with path.open("rb") as file:
            digest.update(file.read(_HEAD))
            if size > 2 * _HEAD:
                file.seek(-_HEAD, os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()


def _check_whole(folder: Path, path: Path) -> None:
    """A safetensors file says in its header how long it is: a broken download shows at once."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if length < path.stat().st_size else None
        except ValueError:
            header = None
    if header is None:
        raise _bad_model(folder, f"{path.name} is not a safetensors file")
    end = max((item["data_offsets"][1] for key, item in header.items() if key != "__metadata__"), default=0)
    if path.stat().st_size < 8 + length + end:
        raise _bad_model(
            folder, f"{path.name} is cut short ({path.stat().st_size} of {8 + length + end} bytes)"
        )


def _bad_model(folder: Path, reason: str) -> CaptionerError:
    return CaptionerError(
        f"the vision-language model in {str(folder)!r} can't be used: {reason}; download it again, or use"
        " --captioner pose"
    )
