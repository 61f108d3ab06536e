"""The models from outside: a picture's bytes in, the people in it out, whichever replicas answer.

bytes -> Perception: decode, find people -> Recovery: batches of people, bodies -> Seen
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving import metrics
from alignhmr.deployments.serving.intake import Limits, overloaded
from alignhmr.deployments.serving.messages import Description, Found, Look, Seen

log = logging.getLogger("ray.serve.alignhmr")  # into the replica's own log file, with the request id


@dataclass(frozen=True)
class Models:
    """Asks replicas, within the deadline. Errors are ServiceErrors: overloaded, deadline, replica_lost."""

    perception: DeploymentHandle
    recovery: DeploymentHandle
    limits: Limits

    async def see(self, data: bytes, look: Look) -> Seen | InputError:
        """Everyone in the picture; one that can't be used is an answer, too."""
        try:
            async with asyncio.timeout(self.limits.deadline_s):
                seen = await self._ask(self.perception.find, data, look)
                if isinstance(seen, Found):
                    seen = await self._ask(self.recovery.recover, seen, look)
        except BackPressureError:
            raise overloaded(self.limits.retry_after_s) from None
        except TimeoutError:
            message = f"no answer within {self.limits.deadline_s:g} s; try again, or with fewer hypotheses"
            raise ServiceError(message, code="deadline", retry_after_s=self.limits.retry_after_s) from None
        metrics.meters().saw(seen)
        return seen

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
