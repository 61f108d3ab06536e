"""Lets torchvision be imported beside a torch of the other kind (CUDA-linked torchvision, CPU torch).

PyPI's torchvision is linked to CUDA. Beside a `+cpu` torch its library of operators doesn't load, and then
its import dies with "operator torchvision::nms does not exist". vLLM and the image processors of
`transformers` need that import, not those operators. Declaring the two missing schemas first is enough:
transforms work, `torchvision.ops.nms` raises when called. Where the two packages match, nothing is done.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_SCHEMAS = ("nms", "qnms")
_kept: list[object] = []
"""The torch.library handles: dropping one takes its schemas away again."""


def install(*, children: bool = False) -> bool:
    """Arranges that torchvision can be imported in this process; True if anything had to be done.

    Cheap: neither package is imported before the program itself does it. With ``children``, processes
    started from here are cared for as well.
    """
    there = any(isinstance(finder, _Finder) for finder in sys.meta_path)
    if not there:
        if "torchvision" in sys.modules or not mismatched():
            return False
        sys.meta_path.insert(0, _Finder())
    if children:
        folder = str(Path(__file__).parent / "child_python")
        before = os.environ.get("PYTHONPATH")
        if folder not in (before or "").split(os.pathsep):
            os.environ["PYTHONPATH"] = folder if not before else folder + os.pathsep + before
    return True


def mismatched() -> bool:
    """Whether torch is a CPU build and torchvision a CUDA build, read without importing either."""
    torch, torchvision = _version_file("torch"), _version_file("torchvision")
    cpu = re.search(r"^cuda\b.*=\s*None\s*$", torch, re.MULTILINE)
    return bool(cpu) and "+cu" in torchvision


def _version_file(package: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    file = Path(spec.origin).parent / "version.py"
    return file.read_text() if file.is_file() else ""


class _Finder(importlib.abc.MetaPathFinder):
    """Sees the import of torchvision before the real finders do, and leaves the finding to them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "torchvision" and not _kept:
            _declare()
        return None


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _SCHEMAS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)
