"""A LiteRT network, ready to run."""

from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from alignhmr.core.native_output import stderr_aside


def load_network(model: Path | bytes, threads: int) -> Interpreter:
    """The network of a .tflite file or its bytes, on the CPU, its tensors allocated."""
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    with stderr_aside():  # LiteRT announces its CPU delegate for every network
        network = Interpreter(**source, num_threads=threads)
        network.allocate_tensors()
    return network
