"""What BlazePose makes of a crop on its way to an answer: features that photos of people taught it.

The landmark network ends in points; the layers before them know more than those. They are read as they are, never
trained further: what learns on top of them from made pictures meets the same features on photos.
"""

import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from jaxtyping import Float16, UInt8

from alignhmr.core.errors import AssetError
from alignhmr.core.perception import assets
from alignhmr.core.perception.litert import load_network

INPUT = 256
"""Side of a crop."""
MAPS: tuple[tuple[int, int], ...] = ((48, 16), (144, 8), (288, 4))
"""Channels and rows of each map: the decoder at stride 16, the trunk's end, and what the points are read from."""
WORLD = 117
"""Its own 3D points, in metres: 39 of them, of which 33 are used."""
SIZE = sum(channels * rows * rows for channels, rows in MAPS) + WORLD
"""Of one crop's features."""
_TENSORS = (275, 269, 316)
"""Of the network's file: ``MAPS`` in their order."""
_SHAPES = [(1, rows, rows, channels) for channels, rows in MAPS]

_local = threading.local()


def pose_features(
    crops: Sequence[UInt8[np.ndarray, "side side 3"]], *, threads: int = 1
) -> Float16[np.ndarray, "crops size"]:
    """Features of RGB crops of 256 px: the maps channel by channel, then the points.

    25 ms a crop on one core, 14 with two ``threads``, on which no answer depends. AssetError where the network can't
    be had.
    """
    network = getattr(_local, "network", None)
    # One for each thread that calls: an interpreter holds the tensors of its last crop.
    if network is None or network.threads != threads:
        network = _local.network = _Network(_model(), threads)
    features = np.zeros((len(crops), SIZE), np.float16)
    for index, crop in enumerate(crops):
        features[index] = network(crop)
    return features


class _Network:
    """BlazePose's landmark network, its inner tensors among the answers."""

    def __init__(self, model: bytes, threads: int) -> None:
        self.threads = threads
        self._network = load_network(model, threads)
        self._input = self._network.get_input_details()[0]["index"]
        found = {tuple(detail["shape"]): detail["index"] for detail in self._network.get_output_details()}
        self._maps = [found[shape] for shape in _SHAPES]
        self._world = found[(1, WORLD)]

    def __call__(self, crop: UInt8[np.ndarray, "side side 3"]) -> Float16[np.ndarray, "size"]:
        self._network.set_tensor(self._input, crop[None].astype(np.float32) / 255)
        self._network.invoke()
        maps = [self._network.get_tensor(index)[0].transpose(2, 0, 1).ravel() for index in self._maps]
        return np.concatenate([*maps, self._network.get_tensor(self._world)[0]]).astype(np.float16)


@cache
def _model() -> bytes:
    return with_outputs(assets.fetch("blazepose") / "pose_landmark_full.tflite", _TENSORS)


def with_outputs(path: Path, tensors: Sequence[int]) -> bytes:
    """A network's file that answers with some of its inner tensors, too.

    AssetError where they aren't those that they were taken for.
    """
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(path.read_bytes(), 0))
    graph = model.subgraphs[0]
    shapes = [tuple(graph.tensors[index].shape) for index in tensors]
    if shapes != _SHAPES:
        raise AssetError(
            f"{path} has other layers ({shapes}, not {_SHAPES}); fetch it again with `alignhmr assets`"
        )
    graph.outputs = [*(int(index) for index in graph.outputs), *tensors]
    model.signatureDefs = None  # they name outputs, too
    builder = flatbuffers.Builder(path.stat().st_size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
