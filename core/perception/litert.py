"""A LiteRT network, ready to run."""

from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from alignhmr.core.native_output import stderr_aside


def load_network(model: Path | bytes, threads: int) -> Interpreter:
    """The network of a .tflite file or its bytes, on the CPU, its tensors allocated."""
    with stderr_aside():  # LiteRT announces its CPU delegate for every network
        if isinstance(model, bytes):
            network = Interpreter(model_content=model, num_threads=threads)
        else:
            network = Interpreter(str(model), num_threads=threads)
        network.allocate_tensors()
    return network
