"""Run by Python at start-up in the child processes of Ray workers, which no Ray hook reaches.

vLLM inspects a model's class in a bare ``python -m ...`` child; that one imports torchvision as well.
"""

import contextlib
import importlib.machinery
import importlib.util
import os
import sys

with contextlib.suppress(ImportError):
    from alignhmr.deployments import torchvision_shim

    torchvision_shim.install()

# This file hides a sitecustomize that the environment may have: run that one as if we weren't here.
_here = os.path.dirname(os.path.abspath(__file__))
_others = [entry for entry in sys.path if os.path.abspath(entry) != _here]
_spec = importlib.machinery.PathFinder.find_spec("sitecustomize", _others)
if _spec is not None and _spec.loader is not None:
    _spec.loader.exec_module(importlib.util.module_from_spec(_spec))
