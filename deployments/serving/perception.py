"""One perception replica: a picture's bytes in; the people in it out, each with what models of bodies look at."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float

from alignhmr.core.errors import InputError
from alignhmr.core.geometry.cameras import intrinsics_for
from alignhmr.core.perception.finder import Finder
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Picture
from alignhmr.core.recovery import Recoverer
from alignhmr.deployments import prompts
from alignhmr.deployments.serving.messages import Found, Look

log = logging.getLogger("ray.serve.alignhmr")  # into the replica's own log file, with the request id


class PerceptionReplica:
    """Holds a detector, which has one thread: its interpreter keeps state between calls."""

    def __init__(self, load: Callable[[], Finder | Recoverer], max_pixels: int) -> None:
        started = time.perf_counter()
        self.finder, self.max_pixels = load(), max_pixels
        self.finding = ThreadPoolExecutor(1, "find")
        self._suspect = False
        # No caller pays for lazy initialisation, and a detector that can't answer never gets ready.
        self._try()
        log.info("perception ready in %.1f s with %s", time.perf_counter() - started, self.detector())

    async def find(self, data: bytes, look: Look) -> Found | InputError:
        """Everyone in the picture. One that can't be used is an answer, too: it must cost nobody else's."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.finding, self._find, data, look)
        except InputError as error:
            log.info("picture refused: %s", error.code)
            return error
        except Exception:
            self._suspect = True
            raise

    async def check_health(self) -> None:
        """After a failure that nobody foresaw, whether the detector still looks; see ``RecoveryReplica``."""
        if self._suspect:
            await asyncio.get_running_loop().run_in_executor(self.finding, self._try)
            self._suspect = False

    def _try(self) -> None:
        self.finder.find(Picture(np.full((256, 256, 3), 127, np.uint8), sha256=""))

    def _find(self, data: bytes, look: Look) -> Found:
        prompt = prompts.prompt_of(look.refine, look.text, given_keypoints=look.keypoints is not None)
        started = time.perf_counter()
        picture = decode(data, max_pixels=self.max_pixels)
        decoded = time.perf_counter()
        boxes = [] if look.boxes is None else list(_boxes_inside(look.boxes, picture.size))
        given = [(np.array(rows, np.float32), None) for rows in look.keypoints or ()]
        people = prompts.people_of(self.finder, picture, boxes, given)
        prompts.check_who_is_meant(prompt, len(people), "give its box")
        width, height = picture.size
        return Found(
            size=picture.size,
            sha256=picture.sha256,
            intrinsics=intrinsics_for(
                width, height, exif_focal_px=picture.exif_focal_px, focal_px=look.focal_px
            ),
            people=people,
            detector=self.detector(),
            timings_ms={
                "decode": (decoded - started) * 1e3,
                "find": (time.perf_counter() - decoded) * 1e3,
            },
        )

    def detector(self) -> str:
        """NAME:DIGEST of what finds people."""
        detector = self.finder.detector
        return f"{detector.name}:{detector.digest[:16]}"


def _boxes_inside(boxes: list[list[float]], size: tuple[int, int]) -> Float[np.ndarray, "people 4"]:
    for box in boxes:
        if box[0] >= size[0] or box[1] >= size[1] or box[2] <= 0 or box[3] <= 0:
            message = (
                f"box {box} is outside the picture ({size[0]} x {size[1]} px); give [x0, y0, x1, y1] in it"
            )
            raise InputError(message, code="invalid_options")
    return np.asarray(boxes, np.float64)
