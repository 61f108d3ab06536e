"""One model replica: a picture's bytes in, recoveries out, in batches of people from many requests."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from ray import serve

from alignhmr.core.body.motion_files import bvh, motion_of
from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.cameras import intrinsics_for, project
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Person, Picture, Recovery
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.deployments import prompts
from alignhmr.deployments.serving.messages import Description, Look, Seen

log = logging.getLogger("ray.serve.alignhmr")  # into the replica's own log file, with the request id

MAX_BATCH_HYPOTHESES = 640
"""A batch is full at this many hypotheses over all its people, not at a number of pictures."""
BATCH_WAIT_S = 0.004
"""How long a lone person waits for company: well under the time of one batch."""


MAX_MESH_BYTES = 64 << 20
"""Of one picture's 'meshes'; a crowd of fine bodies with many hypotheses each would be gigabytes."""

_REFINED = 3
"""Times the work of a hypothesis that is drawn only."""


def _weight(requests: list[RecoveryRequest]) -> int:
    return sum(request.hypotheses * (1 if request.prompt is None else _REFINED) for request in requests)


class Replica:
    """Holds a Recoverer. Finding and recovering have a thread each, so that they overlap."""

    def __init__(self, load: Callable[[], Recoverer], max_pixels: int) -> None:
        started = time.perf_counter()
        self.recoverer, self.max_pixels = load(), max_pixels
        # One thread each: the detector's interpreter keeps state between calls, and the answer must not
        # depend on what runs beside it.
        self.finding, self.recovering = ThreadPoolExecutor(1, "find"), ThreadPoolExecutor(1, "recover")
        self._warm_up()
        log.info("replica ready in %.1f s with %s", time.perf_counter() - started, self.recoverer.models)

    def describe(self) -> Description:
        body = self.recoverer.body
        return Description(body.name, dict(self.recoverer.models), len(body.faces))

    async def look(self, data: bytes, look: Look) -> Seen | InputError:
        """Everyone in the picture. One that can't be used is an answer, too: it must cost nobody else's."""
        loop = asyncio.get_running_loop()
        try:
            prompt = prompts.prompt_of(look.refine, look.text, given_keypoints=look.keypoints is not None)
            picture, people, timings = await loop.run_in_executor(self.finding, self._find, data, look)
            prompts.check_who_is_meant(prompt, len(people), "give its box")
            _check_meshes(look, len(people), self.recoverer)
        except InputError as error:
            log.info("picture refused: %s", error.code)
            return error
        width, height = picture.size
        intrinsics = intrinsics_for(
            width, height, exif_focal_px=picture.exif_focal_px, focal_px=look.focal_px
        )
        # Seeds as in Recoverer.recover: the service and the command line give the same answer.
        requests = [
            RecoveryRequest(person, intrinsics, look.seed + index, look.hypotheses, prompt)
            for index, person in enumerate(people)
        ]
        answers = await asyncio.gather(*(self._recover_people(request) for request in requests))
        timings["recover"] = max((spent for _, spent in answers), default=0.0)
        recoveries = [answer for answer, _ in answers if isinstance(answer, Recovery)]
        left_out = [str(answer) for answer, _ in answers if isinstance(answer, InputError)]
        for answer, _ in answers:
            if isinstance(answer, Exception) and not isinstance(answer, InputError):
                raise answer
        vertices, meshes, bvhs = await loop.run_in_executor(self.recovering, self._bodies, recoveries, look)
        faces = np.asarray(self.recoverer.body.faces, np.int32) if look.vertices or look.meshes else None
        return Seen(
            size=picture.size,
            sha256=picture.sha256,
            intrinsics=intrinsics,
            recoveries=recoveries,
            joints_px=[_joints_px(recovery) for recovery in recoveries],
            left_out=left_out,
            body_model=self.recoverer.body.name,
            models=dict(self.recoverer.models),
            vertices_cam_m=vertices,
            faces=faces,
            timings_ms=timings,
            meshes_cam_m=meshes,
            bvh=bvhs,
        )

    def _find(self, data: bytes, look: Look) -> tuple[Picture, list[Person], dict[str, float]]:
        started = time.perf_counter()
        picture = decode(data, max_pixels=self.max_pixels)
        decoded = time.perf_counter()
        boxes = [] if look.boxes is None else list(_boxes_inside(look.boxes, picture.size))
        given = [(np.array(rows, np.float32), None) for rows in look.keypoints or ()]
        people = prompts.people_of(self.recoverer, picture, boxes, given)
        return picture, people, {"decode": (decoded - started) * 1e3, "find": _ms_since(decoded)}

    @serve.batch(
        max_batch_size=MAX_BATCH_HYPOTHESES, batch_wait_timeout_s=BATCH_WAIT_S, batch_size_fn=_weight
    )
    async def _recover_people(
        self, requests: list[RecoveryRequest]
    ) -> list[tuple[Recovery | Exception, float]]:
        started = time.perf_counter()
        answers = await asyncio.get_running_loop().run_in_executor(self.recovering, self._recover, requests)
        return [(answer, _ms_since(started)) for answer in answers]

    def _recover(self, requests: list[RecoveryRequest]) -> list[Recovery | Exception]:
        try:
            return list(self.recoverer.recover_batch(requests))
        except Exception as error:
            if len(requests) == 1:
                return [error]
            # One of them is at fault; alone, it costs only itself.
            log.warning("a batch of %d people failed (%r); recovering them one by one", len(requests), error)
            return [self._recover([request])[0] for request in requests]

    def _bodies(
        self, recoveries: list[Recovery], look: Look
    ) -> tuple[list[np.ndarray] | None, list[np.ndarray] | None, list[str] | None]:
        """Selected meshes, every hypothesis's meshes, and BVH texts; each None unless asked for."""
        recoverer = self.recoverer
        return (
            [recoverer.vertices(recovery) for recovery in recoveries] if look.vertices else None,
            [recoverer.all_vertices(recovery) for recovery in recoveries] if look.meshes else None,
            [bvh(motion_of(recovery, recoverer.body.name), recoverer.body) for recovery in recoveries]
            if look.bvh
            else None,
        )

    def _warm_up(self) -> None:
        """No caller pays for lazy initialisation, and a model that can't answer never gets ready."""
        picture = Picture(np.full((256, 256, 3), 127, np.uint8), sha256="")
        self.recoverer.find(picture)
        person = self.recoverer.from_boxes(picture, np.array([[64.0, 16.0, 192.0, 240.0]]))[0]
        # Nobody is in a grey picture; these keypoints are somebody to the models.
        corners = np.array([[96, 32, 1], [160, 32, 1], [96, 128, 1], [160, 128, 1]], np.float32)
        keypoints = np.concatenate([np.zeros((5, 3), np.float32), corners.repeat(5, 0)])[: len(KEYPOINTS)]
        person = replace(person, keypoints_px=keypoints)
        recovery = self.recoverer.recover_batch([RecoveryRequest(person, intrinsics_for(256, 256), 0, 2)])[0]
        self.recoverer.vertices(recovery)


def _check_meshes(look: Look, people: int, recoverer: Recoverer) -> None:
    size = people * look.hypotheses * recoverer.body.num_vertices * 6
    if look.meshes and size > MAX_MESH_BYTES:
        message = (
            f"meshes of {look.hypotheses} hypotheses of {people} people are {size >> 20} MB, and"
            f" {MAX_MESH_BYTES >> 20} are allowed; ask for fewer hypotheses, or give some boxes"
        )
        raise InputError(message, code="invalid_options")


def _joints_px(recovery: Recovery) -> Float[np.ndarray, "24 2"]:
    camera = recovery.intrinsics
    joints_cam_m = torch.as_tensor(recovery.hypotheses.joints_cam_m[recovery.selected])
    return project(joints_cam_m, torch.tensor(camera.focal_px), torch.tensor(camera.center_px)).numpy()


def _boxes_inside(boxes: list[list[float]], size: tuple[int, int]) -> Float[np.ndarray, "people 4"]:
    for box in boxes:
        if box[0] >= size[0] or box[1] >= size[1] or box[2] <= 0 or box[3] <= 0:
            message = (
                f"box {box} is outside the picture ({size[0]} x {size[1]} px); give [x0, y0, x1, y1] in it"
            )
            raise InputError(message, code="invalid_options")
    return np.asarray(boxes, np.float64)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
