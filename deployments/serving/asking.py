"""The models from outside: a picture's bytes in, the people in it out, whichever replicas answer.

bytes -> Perception: decode, find people -> Recovery: batches of people, bodies -> Seen
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving import metrics
from alignhmr.deployments.serving.canary import Canary
from alignhmr.deployments.serving.intake import Gate, overloaded
from alignhmr.deployments.serving.messages import Description, Found, Look, Seen
from alignhmr.deployments.serving.settings import ServeSettings

log = logging.getLogger("ray.serve.alignhmr")  # into the replica's own log file, with the request id


class Models:
    """Asks replicas, within the deadline. Errors are ServiceErrors: overloaded, deadline, replica_lost."""

    def __init__(
        self,
        perception: DeploymentHandle,
        recovery: DeploymentHandle,
        settings: ServeSettings,
        canary: Canary | None = None,
    ) -> None:
        self.perception, self.recovery, self.canary = perception, recovery, canary
        self.limits, self.checkpoints = settings.limits, settings.checkpoints
        # What would be refused before Recovery must not have kept Perception busy.
        places = (
            pool.max_ongoing * pool.max_replicas + pool.max_queued
            for pool in (settings.perception, settings.recovery)
        )
        self.room = Gate(min(places), self.limits.retry_after_s)

    async def see(self, data: bytes, look: Look) -> Seen | InputError:
        """Everyone in the picture; one that can't be used is an answer, too."""
        if look.checkpoint is not None and look.checkpoint not in self.checkpoints:
            known = ", ".join(sorted(self.checkpoints)) or "none"
            raise InputError(
                f"checkpoint is {look.checkpoint!r}; choose from {known}, or leave it out",
                code="invalid_options",
            )
        try:
            with self.room:
                async with asyncio.timeout(self.limits.deadline_s):
                    found = await self._ask(self.perception.find, data, look)
                    seen = found if isinstance(found, InputError) else await self._recovered(found, look)
        except BackPressureError:
            raise overloaded(self.limits.retry_after_s) from None
        except TimeoutError:
            message = f"no answer within {self.limits.deadline_s:g} s; try again, or with fewer hypotheses"
            raise ServiceError(message, code="deadline", retry_after_s=self.limits.retry_after_s) from None
        metrics.meters().saw(seen)
        return seen

    async def _recovered(self, found: Found, look: Look) -> Seen | InputError:
        if self.canary is None or look.checkpoint is not None or not self.canary.takes(found.sha256):
            return await self._recover(found, look)
        try:
            seen = await self._recover(found, replace(look, checkpoint=self.canary.checkpoint))
        except BackPressureError:
            raise
        except Exception:
            log.exception("the candidate failed; the service's own checkpoint answers")
            seen = await self._recover(found, look)
            if isinstance(seen, Seen):
                self.canary.compare(None, _there(seen))
            return seen
        if self.canary.share < 1 and isinstance(seen, Seen):
            self.canary.compare(seen, self._incumbent(found, look))
        return seen

    async def _incumbent(self, found: Found, look: Look) -> Seen:
        """What the service's own checkpoint sees where the candidate saw something."""
        seen = await self._recover(found, look)
        if isinstance(seen, InputError):
            raise seen
        return seen

    async def _recover(self, found: Found, look: Look) -> Seen | InputError:
        recovery = self.recovery
        if look.checkpoint is not None:
            recovery = recovery.options(multiplexed_model_id=look.checkpoint)
        return await self._ask(recovery.recover, found, look)

    async def describe(self) -> Description:
        detector, described = await together(
            [self._ask(self.perception.detector), self._ask(self.recovery.describe)]
        )
        described.models["detector"] = detector
        return described

    async def _ask(self, method: Any, *told: object) -> Any:
        try:
            return await _answer(method.remote(*told))
        except RayActorError:
            log.warning("a model replica died under a request; asking another one")
        try:
            # Once: models have no side effects, but a picture that kills replicas must not kill them all.
            return await _answer(method.remote(*told))
        except RayActorError:
            message = "two model replicas died under this request; tell the operator the request id"
            raise ServiceError(
                message, code="replica_lost", retry_after_s=self.limits.retry_after_s
            ) from None


async def _there(seen: Seen) -> Seen:
    return seen


async def _answer(response: DeploymentResponse) -> Any:
    """What a replica answers; who stops waiting takes the request back."""
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise


async def together(asked: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All answers; when one fails nobody waits for the others, and they are taken back."""
    tasks = [asyncio.create_task(each) for each in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
