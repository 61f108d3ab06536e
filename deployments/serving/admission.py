"""Who may ask, and how much: an API key's holder, its rate and its daily quota.

Rates and quotas are counted in the ingress that a request reaches. Each of N ingress replicas grants an N-th, so that
a key never gets more than it has, and gets all of it as far as requests spread evenly.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from alignhmr.core.errors import AlignhmrError, InputError, ServiceError
from alignhmr.deployments.serving.keys import KeyRecord, edition, holder, read_keys

log = logging.getLogger("ray.serve.alignhmr")

REFRESH_S = 3.0
"""How long a key that was taken back may still be honoured."""

BEARER = HTTPBearer(
    auto_error=False,
    description="`Authorization: Bearer KEY`, or the key as `X-API-Key`; nothing where the service is open.",
)
"""Only says in OpenAPI what ``Admission`` does: that must happen before anything is read."""


@dataclass
class Allowance:
    """What one key may still do. ``now_s`` is a monotonic clock, ``day`` the date in UTC."""

    key: KeyRecord
    shares: int = 1
    _tokens: float = field(init=False)
    _filled_s: float | None = None
    _day: str = ""
    _pictures: int = 0

    def __post_init__(self) -> None:
        self._tokens = self._burst

    @property
    def _rate(self) -> float:
        return (self.key.rate_per_s or 0) / self.shares

    @property
    def _burst(self) -> float:
        return max(self._rate, 1.0)

    def ask(self, now_s: float) -> None:
        """Counts a request. ServiceError where it comes too soon."""
        if self.key.rate_per_s is None:
            return
        if self._filled_s is not None:
            self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate)
        self._filled_s = now_s
        if self._tokens < 1:
            wait_s = (1 - self._tokens) / self._rate
            message = f"this key may ask {self.key.rate_per_s:g} times a second; try again in {wait_s:.1f} s"
            raise ServiceError(message, code="rate_limited", retry_after_s=wait_s)
        self._tokens -= 1

    def charge(self, pictures: int, now: datetime) -> None:
        """Counts pictures. ServiceError where they are more than the day has left; then none is counted."""
        if self.key.pictures_per_day is None:
            return
        if self._day != now.date().isoformat():
            self._day, self._pictures = now.date().isoformat(), 0
        if (self._pictures + pictures) * self.shares > self.key.pictures_per_day:
            tomorrow = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
            message = (
                f"this key's {self.key.pictures_per_day} pictures of the day don't leave {pictures} more; wait until"
                " midnight UTC, or ask the operator for more"
            )
            raise ServiceError(message, code="quota_exceeded", retry_after_s=(tomorrow - now).total_seconds())
        self._pictures += pictures


class Admission:
    """The key file's holders, read anew when the file changes. Without a file everyone may ask."""

    def __init__(self, location: str | None, shares: int = 1) -> None:
        self.location, self.shares = location, shares
        self._allowances: dict[KeyRecord, Allowance] = {}
        self._edition: tuple | None = None
        self._looked_s = time.monotonic()
        self._refreshing: asyncio.Task | None = None
        if location is not None:
            self._edition = edition(location)
            self._take(read_keys(location))

    def admit(self, request: HTTPConnection) -> Allowance | None:
        """The caller's allowance, None in an open service. Raises before anything of the body is read."""
        if self.location is None:
            return None
        self._refresh_if_due()
        allowances = self._allowances  # a refresh may put others in its place meanwhile
        key = holder(_presented(request), list(allowances))
        if key is None:
            raise InputError(
                "the request has no key that this service knows; send it as `Authorization: Bearer KEY`",
                code="unauthorized",
            )
        allowance = allowances[key]
        allowance.ask(time.monotonic())
        return allowance

    def _refresh_if_due(self) -> None:
        busy = self._refreshing is not None and not self._refreshing.done()
        if not busy and time.monotonic() - self._looked_s > REFRESH_S:
            self._looked_s = time.monotonic()
            self._refreshing = asyncio.create_task(asyncio.to_thread(self.refresh))

    def refresh(self) -> None:
        """Reads the file if it changed. One that can't be read leaves the keys as they were, and is logged."""
        assert self.location is not None
        try:
            now = edition(self.location)
            if now != self._edition:
                self._take(read_keys(self.location))
                self._edition = now
                log.info("keys read anew: %d", len(self._allowances))
        except (AlignhmrError, OSError) as error:
            log.error("keys stay as they were: %s", error)

    def _take(self, keys: tuple[KeyRecord, ...]) -> None:
        # Whose record is unchanged goes on counting where it was.
        self._allowances = {key: self._allowances.get(key) or Allowance(key, self.shares) for key in keys}


def charge(allowance: Allowance | None, pictures: int) -> None:
    """Counts a request's pictures, where somebody counts."""
    if allowance is not None:
        allowance.charge(pictures, datetime.now(UTC))


def _presented(request: HTTPConnection) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
