"""Names for the sizes of Qwen3-VL: which model each is, and how vLLM is to run it on GPUs of 80 GB or more."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    hub: str
    """Name on Hugging Face's hub."""
    gpus: int = 1
    """That share the weights (tensor parallelism)."""
    max_num_seqs: int = 64
    """People described at once."""


QWEN3_VL: dict[str, Size] = {
    "qwen3-vl-2b": Size("Qwen/Qwen3-VL-2B-Instruct", max_num_seqs=256),
    "qwen3-vl-4b": Size("Qwen/Qwen3-VL-4B-Instruct", max_num_seqs=192),
    "qwen3-vl-8b": Size("Qwen/Qwen3-VL-8B-Instruct", max_num_seqs=128),
    "qwen3-vl-30b": Size("Qwen/Qwen3-VL-30B-A3B-Instruct"),
    "qwen3-vl-32b": Size("Qwen/Qwen3-VL-32B-Instruct", gpus=2),
    "qwen3-vl-235b": Size("Qwen/Qwen3-VL-235B-A22B-Instruct", gpus=8),
}
"""What may follow `--captioner vllm:`. Weights alone take 2 bytes a parameter: the largest needs eight GPUs."""
