"""AGORA: scanned people rendered into scenes, by the .npz labels that were published with BEDLAM.

Where: pictures from https://agora.is.tue.mpg.de (Patel et al., CVPR 2021), labels (``agora-bfh.npz``,
``agora-body.npz``) from https://bedlam.is.tue.mpg.de. Licence: non-commercial research, on registration; nothing of
it may be passed on.
Files: ``labels/agora*.npz`` and ``images/`` with the ``imgname`` of each row. AGORA's own annotations are pandas
pickles, which run code when they are read: they are not read here.

Conventions: as in `bedlam.py`; SMPL-X bodies, joints in pixels only. The published labels cover the training and
validation pictures: the test set's are kept by its evaluation server. A group is a rendered scene: the part of
a picture's name before its number.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from alignhmr.core.errors import InputError
from alignhmr.core.truth.bedlam import read_labels
from alignhmr.core.truth.frames import Frame
from alignhmr.core.truth.smpl_labels import SmplFiles


def read_agora(location: str | Path, split: str = "train") -> Iterator[Frame]:
    """Frames of every label file, by name; `location` is ROOT or ROOT,BODIES. Raises InputError."""
    if split != "train":
        raise InputError(f"AGORA's labels have no split {split!r}; the only one is train")
    root, _, bodies = str(location).partition(",")
    labels = Path(root) / "labels"
    files = sorted(labels.glob("agora*.npz"))
    if not files:
        pickles = sorted(Path(root).rglob("*.pkl"))
        why = f"; {pickles[0]} is a pandas pickle, which is not read" if pickles else ""
        raise InputError(
            f"no agora*.npz in {labels}{why}: get the .npz labels that were published with BEDLAM"
        )
    smpl = SmplFiles.open(bodies)
    for path in files:
        for frame in read_labels(path, Path(root) / "images", "agora", smpl):
            yield replace(frame, group=re.sub(r"[_-]?\d+(_\d+x\d+)?$", "", Path(frame.id).stem))
