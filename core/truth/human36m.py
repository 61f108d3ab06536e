"""Human3.6M, in the JSON annotations that most public code is run on, with its 17 marker-based joints.

Where: videos from http://vision.imar.ro/human3.6m (Ionescu et al., TPAMI 2014), annotations and the folder layout
from the release beside "Camera Distance-aware Top-down Approach for 3D Multi-person Pose Estimation" (Moon et al.,
ICCV 2019). Licence: academic, on registration; nothing of it may be passed on.
Files: ``annotations/Human36M_subject9_{data,camera,joint_3d}.json`` and ``images/`` with the ``file_name`` of each
picture. The published pickles and HDF5 files are not read: these hold the same and run nothing.

Conventions: joints in the world in mm, camera = R · world + t (mm, OpenCV's axes), f and c in pixels. The
lens' distortion is left out, as these annotations leave it out. ``h36m17`` comes from the file, the limbs
of ``coco23`` from it; face, feet and ``smpl24`` are not given. Splits: ``test`` (S9 and S11, every 64th frame),
``test-front`` (its camera 4 alone: "protocol 2"), ``train`` (S1, S5, S6, S7, S8, every 5th frame). A group is
subject and action.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alignhmr.core.body.joint_sets import H36M_POINTS
from alignhmr.core.body.skeleton import KEYPOINTS, SHARED_KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.frames import Frame, box_around, load_json, project_px
from alignhmr.core.truth.records import Points, Truth
from alignhmr.core.truth.smpl_labels import limbs

SPLITS: dict[str, tuple[tuple[int, ...], int]] = {
    "test": ((9, 11), 64),
    "test-front": ((9, 11), 64),
    "train": ((1, 5, 6, 7, 8), 5),
}
"""Subjects, and every how many frames one is taken: the field's own thinning of 50 Hz video."""
LIMB_POINTS = tuple(H36M_POINTS.index(KEYPOINTS[point]) for point in SHARED_KEYPOINTS)


def read_human36m(root: str | Path, split: str = "test") -> Iterator[Frame]:
    """Frames of a split, subject after subject. Raises InputError."""
    if split not in SPLITS:
        raise InputError(f"Human3.6M has no split {split!r}; choose from {', '.join(SPLITS)}")
    subjects, every = SPLITS[split]
    for subject in subjects:
        names = ("data", "camera", "joint_3d")
        paths = [Path(root) / "annotations" / f"Human36M_subject{subject}_{name}.json" for name in names]
        data, cameras, joints = (load_json(path, "an annotation of Human3.6M") for path in paths)
        try:
            boxes = {label["image_id"]: label["bbox"] for label in data["annotations"]}
            for image in data["images"]:
                wanted = split != "test-front" or int(image["cam_idx"]) == 4
                if wanted and int(image["frame_idx"]) % every == 0:
                    yield _frame(image, boxes.get(image["id"]), cameras, joints, Path(root) / "images")
        except (KeyError, IndexError, TypeError, ValueError) as broken:
            raise InputError(
                f"{paths[0].parent}: the annotations of subject {subject} don't fit together "
                f"({type(broken).__name__}: {broken}); get all three files anew"
            ) from broken


def _frame(image: dict[str, Any], box: list[float] | None, cameras: Any, joints: Any, images: Path) -> Frame:
    camera = cameras[str(image["cam_idx"])]
    R, t_mm = np.array(camera["R"], np.float64).reshape(3, 3), np.array(camera["t"], np.float64).reshape(3)
    focal, center = np.array(camera["f"], np.float64), np.array(camera["c"], np.float64)
    intrinsics = Intrinsics(float(focal.mean()), (float(center[0]), float(center[1])), "given")
    place = joints[str(image["action_idx"])][str(image["subaction_idx"])][str(image["frame_idx"])]
    world_mm = np.array(place, np.float64).reshape(len(H36M_POINTS), 3)
    cam_m = ((world_mm @ R.T + t_mm) / 1000).astype(np.float32)
    px = project_px(cam_m, intrinsics).astype(np.float32)
    if box is None:
        box_px = box_around(px)
    else:
        x, y, width, height = box
        box_px = np.array([x, y, x + width, y + height], np.float32)
    points = {
        "h36m17": Points(cam_m, px),
        "coco23": Points(limbs(cam_m, LIMB_POINTS), limbs(px, LIMB_POINTS)),
    }
    action = str(image.get("action_name", image["action_idx"]))
    return Frame(
        id=Path(image["file_name"]).stem,
        group=f"S{image['subject']}-{action}",
        domain="h36m",
        image=images / image["file_name"],
        intrinsics=intrinsics,
        people=[Truth(box_px, points, facts={"action": action, "camera": str(image["cam_idx"])})],
    )
