"""What the service costs over the models it holds, and what it does when it is asked for more than it can.

The photos are frames of the demo videos in which one person is found. ``added_ms`` is the median of one caller who
asks over HTTP less the median of the same answers made in this process, the two in turn, photo by photo; both hold
the photo's encoded bytes, and 20 hypotheses are drawn. ``saturation_ratio`` is people a second over HTTP, with as
many callers as a replica takes in and lets wait, over people a second in this process (one after another, as a
replica computes them). For ``overload_goodput_ratio`` requests come three times as often as were answered at
saturation, whether others were answered or not: answers a second then, over those at saturation; ``shed_p95_ms`` is
how long a refusal took. Callers and service share the machine, so that on two cores the callers' own work is part of
every figure.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import numpy as np
from predict import frames
from prometheus_client.parser import text_string_to_metric_families
from record import finish

from alignhmr.core.perception.detector import own_threads
from alignhmr.core.perception.images import decode
from alignhmr.core.recovery import Recoverer
from alignhmr.deployments.serving.client import multipart
from alignhmr.deployments.serving.command import start
from alignhmr.deployments.serving.settings import Pool, ServeSettings

HYPOTHESES = 20
WAITING = 4
"""Pictures at work in a replica of either kind, and as many before it: what is more is refused."""
CALLERS = 2 * WAITING
OVERLOAD = 3
FILLED = 4
"""Times that all places are asked for, at least: a quick run on a slow machine must see refusals."""
METRICS_S = 12.0
"""Until Ray's agents have collected what was counted."""


@dataclass
class Told:
    """What callers were told, and how long it took, ms."""

    by_status: dict[int, list[float]] = field(default_factory=dict)
    without_retry_after: int = 0

    def count(self, status: int) -> int:
        return len(self.by_status.get(status, ()))


def in_process_ms(recoverer: Recoverer, photo: bytes) -> float:
    began = time.perf_counter()
    picture = decode(photo)
    recoverer.recover(picture, recoverer.find(picture), hypotheses=HYPOTHESES)
    return 1e3 * (time.perf_counter() - began)


class Callers:
    """Asks one service, over connections that stay open."""

    def __init__(self, session: aiohttp.ClientSession, url: str, photos: list[bytes]) -> None:
        self.session, self.url = session, f"{url}/v1/recover"
        self.forms = [multipart([photo], {"hypotheses": HYPOTHESES}) for photo in photos]

    async def ask(self, index: int, told: Told) -> None:
        body, kind = self.forms[index % len(self.forms)]
        began = time.perf_counter()
        async with self.session.post(self.url, data=body, headers={"Content-Type": kind}) as answer:
            await answer.read()
        told.by_status.setdefault(answer.status, []).append(1e3 * (time.perf_counter() - began))
        told.without_retry_after += answer.status == 503 and "Retry-After" not in answer.headers

    async def saturate(self, seconds: float) -> float:
        """Answers a second, once all callers ask."""
        told, until = Told(), time.perf_counter() + seconds

        async def caller(first: int) -> None:
            index = first
            while time.perf_counter() < until:
                await self.ask(index, told)
                index += 1

        began = time.perf_counter()
        await asyncio.gather(*(caller(first) for first in range(CALLERS)))
        return told.count(200) / (time.perf_counter() - began)

    async def overload(self, per_s: float, seconds: float) -> tuple[Told, float]:
        """What callers who don't wait for each other were told, and the time until the last of them was."""
        told, tasks, began = Told(), [], time.perf_counter()
        for index in range(max(round(per_s * seconds), FILLED * 4 * WAITING)):
            await asyncio.sleep(max(0.0, began + index / per_s - time.perf_counter()))
            tasks.append(asyncio.create_task(self.ask(index, told)))
        await asyncio.gather(*tasks)
        return told, time.perf_counter() - began


def one_caller(
    ask: Callable[[int, Told], Awaitable[None]], recoverer: Recoverer, photos: list[bytes], rounds: int
) -> Awaitable[tuple[Told, list[float]]]:
    """HTTP and in process in turn, so that a slow minute of the machine hits both."""

    async def turns() -> tuple[Told, list[float]]:
        told, own = Told(), []
        for _ in range(rounds):
            for index, photo in enumerate(photos):
                own.append(await asyncio.to_thread(in_process_ms, recoverer, photo))
                await ask(index, told)
        return told, own

    return turns()


async def batches(session: aiohttp.ClientSession, url: str) -> dict[str, int]:
    """Histogram of batch sizes: at most so many people -> batches."""
    async with session.get(f"{url}/metrics") as answer:
        page = await answer.text()
    below: Counter[str] = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "ray_alignhmr_batch_people_bucket":
                below[sample.labels["le"]] += int(sample.value)
    edges = sorted(below, key=float)
    return {edge: below[edge] - (below[edges[i - 1]] if i else 0) for i, edge in enumerate(edges)}


async def measure(url: str, photos: list[bytes], recoverer: Recoverer, *, quick: bool) -> dict[str, object]:
    rounds, seconds = (1, 6.0) if quick else (max(1, 200 // len(photos)), 60.0)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        callers = Callers(session, url, photos)
        for index, photo in enumerate(photos):  # all is warm
            in_process_ms(recoverer, photo)
            await callers.ask(index, Told())
        told, own = await one_caller(callers.ask, recoverer, photos, rounds)
        alone = told.by_status[200]
        began = time.perf_counter()
        for index in range(len(photos) * rounds):
            in_process_ms(recoverer, photos[index % len(photos)])
        own_per_s = len(photos) * rounds / (time.perf_counter() - began)
        peak = await callers.saturate(seconds)
        crowd, took = await callers.overload(OVERLOAD * peak, seconds)
        if not quick:
            await asyncio.sleep(METRICS_S)
        sizes = await batches(session, url)
    shed = crowd.by_status.get(503, [])
    p50, p95, p99 = np.percentile(alone, [50, 95, 99])
    return {
        "saturation_ratio": round(peak / own_per_s, 3),
        "added_ms": round(float(p50 - np.median(own)), 1),
        "p50_ms": round(float(p50), 1),
        "p95_ms": round(float(p95), 1),
        "p99_ms": round(float(p99), 1),
        "in_process_p50_ms": round(float(np.median(own)), 1),
        "overload_goodput_ratio": round(crowd.count(200) / took / peak, 3),
        "shed_p95_ms": round(float(np.percentile(shed, 95)), 1) if shed else None,
        "shed": len(shed),
        "shed_without_retry_after": crowd.without_retry_after,
        "other_statuses": {str(s): len(ms) for s, ms in crowd.by_status.items() if s not in (200, 503)},
        "images_per_s": round(peak, 2),
        "in_process_images_per_s": round(own_per_s, 2),
        "batch_people": sizes,
        "photos": len(photos),
        "calls": len(alone),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    options = parser.parse_args()
    recoverer = Recoverer.load(device="cpu", threads=own_threads())
    wanted = 6 if options.quick else 24
    alone = (p for p in frames(72) if len(recoverer.find(decode(p))) == 1)
    photos = [photo for photo, _ in zip(alone, range(wanted), strict=False)]
    pool = Pool(device="cpu", threads=own_threads(), max_ongoing=WAITING, max_queued=WAITING)
    service = start(port=0, settings=ServeSettings(perception=pool, recovery=pool))
    try:
        values = asyncio.run(measure(service.url, photos, recoverer, quick=options.quick))
    finally:
        service.stop()
    finish("serve", values, quick=options.quick)


if __name__ == "__main__":
    main()
