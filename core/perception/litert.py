"""A LiteRT network, ready to run."""

from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from alignhmr.core.native_output import stderr_aside


def load_network(model: Path, threads: int) -> Interpreter:
    """The network of a .tflite file, on the CPU, its tensors allocated."""
    with stderr_aside():  # LiteRT announces its CPU delegate for every network
        network = Interpreter(str(model), num_threads=threads)
        network.allocate_tensors()
    return network
