"""One recovery replica: the people of a picture in, their bodies out, in batches of people from many requests."""

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
from alignhmr.core.perception.views import with_views
from alignhmr.core.records import Person, Picture, Recovery
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.deployments import prompts
from alignhmr.deployments.serving.messages import Description, Found, Look, Seen
from alignhmr.deployments.serving.metrics import meters

log = logging.getLogger("ray.serve.alignhmr")  # into the replica's own log file, with the request id

MAX_BATCH_HYPOTHESES = 320
"""A batch is full at this many hypotheses over all its people, not at a number of pictures. People of a batch are
computed one after another and answered together: more would only wait longer for each other."""
BATCH_WAIT_S = 0.004
"""How long a lone person waits for company: well under the time of one batch."""


MAX_MESH_BYTES = 64 << 20
"""Of one picture's 'meshes'; a crowd of fine bodies with many hypotheses each would be gigabytes."""

_REFINED = 3
"""Times the work of a hypothesis that is drawn only."""


FURTHER_CHECKPOINTS = 2
"""That a replica holds beside the service's own; the one that was unused longest makes room."""


def _weight(asked: list[tuple[Recoverer, RecoveryRequest]]) -> int:
    return sum(request.hypotheses * (1 if request.prompt is None else _REFINED) for _, request in asked)


class RecoveryReplica:
    """Holds a Recoverer, which has one thread: the answer must not depend on what runs beside it."""

    def __init__(
        self, load: Callable[[], Recoverer], load_further: Callable[[str], Recoverer] | None = None
    ) -> None:
        started = time.perf_counter()
        self.recoverer, self.load_further = load(), load_further
        self.recovering = ThreadPoolExecutor(1, "recover")
        self._suspect = False
        _warm_up(self.recoverer)
        log.info("recovery ready in %.1f s with %s", time.perf_counter() - started, self.recoverer.models)

    async def check_health(self) -> None:
        """After a failure that nobody foresaw, whether the models still answer what they answered at the start.

        Serve puts another replica in the place of one whose check fails, or doesn't come back.
        """
        if self._suspect:
            await asyncio.get_running_loop().run_in_executor(self.recovering, _warm_up, self.recoverer)
            self._suspect = False

    def describe(self) -> Description:
        """What runs here; who finds people is another replica's to say."""
        body = self.recoverer.body
        return Description(body.name, dict(self.recoverer.models), len(body.faces))

    async def recover(self, found: Found, look: Look) -> Seen | InputError:
        """The bodies of everyone who was found; who was seen too little of is left out.

        More meshes than there is room for are an answer, too.
        """
        recoverer = self.recoverer if look.checkpoint is None else await self._further(look.checkpoint)
        try:
            _check_meshes(look, len(found.people), recoverer)
        except InputError as error:
            return error
        prompt = prompts.prompt_of(look.refine, look.text, given_keypoints=look.keypoints is not None)
        # Seeds as in Recoverer.recover: the service and the command line give the same answer.
        requests = [
            RecoveryRequest(person, found.intrinsics, look.seed + index, look.hypotheses, prompt)
            for index, person in enumerate(found.people)
        ]
        answers = await asyncio.gather(*(self._recover_people((recoverer, request)) for request in requests))
        recover_ms = max((spent for _, spent in answers), default=0.0)
        recoveries = [answer for answer, _ in answers if isinstance(answer, Recovery)]
        left_out = [str(answer) for answer, _ in answers if isinstance(answer, InputError)]
        for answer, _ in answers:
            if isinstance(answer, Exception) and not isinstance(answer, InputError):
                self._suspect = True
                raise answer
        loop = asyncio.get_running_loop()
        vertices, meshes, bvhs = await loop.run_in_executor(
            self.recovering, _bodies, recoverer, recoveries, look
        )
        faces = np.asarray(recoverer.body.faces, np.int32) if look.vertices or look.meshes else None
        return Seen(
            size=found.size,
            sha256=found.sha256,
            intrinsics=found.intrinsics,
            recoveries=[_without_pixels(recovery) for recovery in recoveries],
            joints_px=[_joints_px(recovery) for recovery in recoveries],
            left_out=left_out,
            body_model=recoverer.body.name,
            models={**recoverer.models, "detector": found.detector},
            vertices_cam_m=vertices,
            faces=faces,
            timings_ms={**found.timings_ms, "recover": recover_ms},
            meshes_cam_m=meshes,
            bvh=bvhs,
        )

    @serve.multiplexed(max_num_models_per_replica=FURTHER_CHECKPOINTS)
    async def _further(self, name: str) -> Recoverer:
        assert self.load_further is not None
        loop = asyncio.get_running_loop()
        recoverer = await loop.run_in_executor(self.recovering, self.load_further, name)
        await loop.run_in_executor(self.recovering, _warm_up, recoverer)
        return recoverer

    @serve.batch(
        max_batch_size=MAX_BATCH_HYPOTHESES, batch_wait_timeout_s=BATCH_WAIT_S, batch_size_fn=_weight
    )
    async def _recover_people(
        self, asked: list[tuple[Recoverer, RecoveryRequest]]
    ) -> list[tuple[Recovery | Exception, float]]:
        meters().batch_people.observe(len(asked))
        meters().people.inc(len(asked))
        started = time.perf_counter()
        # Serve makes batches of one checkpoint each.
        recoverer, requests = asked[0][0], [request for _, request in asked]
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self.recovering, _recover, recoverer, requests)
        return [(answer, _ms_since(started)) for answer in answers]


def _recover(recoverer: Recoverer, requests: list[RecoveryRequest]) -> list[Recovery | Exception]:
    try:
        return list(recoverer.recover_batch(requests))
    except Exception as error:
        if len(requests) == 1:
            return [error]
        # One of them is at fault; alone, it costs only itself.
        log.warning("a batch of %d people failed (%r); recovering them one by one", len(requests), error)
        return [_recover(recoverer, [request])[0] for request in requests]


def _warm_up(recoverer: Recoverer) -> None:
    """No caller pays for lazy initialisation, and a model that can't answer never gets ready."""
    picture = Picture(np.full((256, 256, 3), 127, np.uint8), sha256="")
    # Nobody is in a grey picture; these keypoints are somebody to the models.
    corners = np.array([[96, 32, 1], [160, 32, 1], [96, 128, 1], [160, 128, 1]], np.float32)
    keypoints = np.concatenate([np.zeros((5, 3), np.float32), corners.repeat(5, 0)])[: len(KEYPOINTS)]
    box_px = np.array([64, 16, 192, 240], np.float32)
    [person] = with_views(picture, [Person(box_px, 1.0, keypoints)])
    recovery = recoverer.recover_batch([RecoveryRequest(person, intrinsics_for(256, 256), 0, 2)])[0]
    recoverer.vertices(recovery)


def _bodies(
    recoverer: Recoverer, recoveries: list[Recovery], look: Look
) -> tuple[list[np.ndarray] | None, list[np.ndarray] | None, list[str] | None]:
    """Selected meshes, every hypothesis's meshes, and BVH texts; each None unless asked for."""
    return (
        [recoverer.vertices(recovery) for recovery in recoveries] if look.vertices else None,
        [recoverer.all_vertices(recovery) for recovery in recoveries] if look.meshes else None,
        [bvh(motion_of(recovery, recoverer.body.name), recoverer.body) for recovery in recoveries]
        if look.bvh
        else None,
    )


def _check_meshes(look: Look, people: int, recoverer: Recoverer) -> None:
    size = people * look.hypotheses * recoverer.body.num_vertices * 6
    if look.meshes and size > MAX_MESH_BYTES:
        message = (
            f"meshes of {look.hypotheses} hypotheses of {people} people are {size >> 20} MB, and"
            f" {MAX_MESH_BYTES >> 20} are allowed; ask for fewer hypotheses, or give some boxes"
        )
        raise InputError(message, code="invalid_options")


def _without_pixels(recovery: Recovery) -> Recovery:
    """An answer holds no pixels; they would travel back for nothing."""
    return replace(recovery, person=replace(recovery.person, view=None, mask=None))


def _joints_px(recovery: Recovery) -> Float[np.ndarray, "24 2"]:
    camera = recovery.intrinsics
    joints_cam_m = torch.as_tensor(recovery.hypotheses.joints_cam_m[recovery.selected])
    return project(joints_cam_m, torch.tensor(camera.focal_px), torch.tensor(camera.center_px)).numpy()


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
