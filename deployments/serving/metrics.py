"""What the service counts and times, and one page of it for every replica on every node.

Each replica reports to the agent that Ray runs on its node, which exports everything in Prometheus' text form.
``exposition`` joins those exports, so that one address tells of the whole service whichever ingress replica answers.
Agents collect every ten seconds (``RAY_metrics_report_interval_ms``): a scrape is at most that old.
"""

import asyncio
import logging
import math
import urllib.request
from functools import cache

import ray
from ray.serve.metrics import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving.messages import Seen
from alignhmr.deployments.serving.schemas import Timings

log = logging.getLogger("ray.serve.alignhmr")

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CODE_HEADER = "X-Error-Code"
"""Of every refusal, beside the body's ``code``: proxies and protocols with an error shape of their own keep it."""

_OURS = ("ray_alignhmr_", "ray_serve_deployment_", "ray_serve_replica_", "ray_serve_autoscaling_")
_SCRAPE_TIMEOUT_S = 3.0
_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60]
_COUNTS = [1, 2, 4, 8, 16, 32, 64]
_SHARES = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
_ERRORS_MM = [20, 30, 40, 50, 60, 80, 100, 130, 160, 200, 300]


class Meters:
    """The service's own metrics, as this process reports them. Ray adds deployment, replica and application."""

    def __init__(self) -> None:
        self.requests = Counter(
            "alignhmr_requests_total",
            description="Requests by route, status and error code ('' for none); shed ones have the code 'overloaded'.",
            tag_keys=("route", "status", "code"),
        )
        self.pictures = Counter(
            "alignhmr_pictures_total",
            description="Pictures looked at, by outcome: 'people', 'nobody', or an error code.",
            tag_keys=("outcome",),
        )
        self.people = Counter("alignhmr_people_total", description="People whose bodies were asked for.")
        self.stage = Histogram(
            "alignhmr_stage_seconds",
            description="Seconds of a request by stage, as timings_ms of answers; 'wait' is the time in queues.",
            boundaries=_SECONDS,
            tag_keys=("stage",),
        )
        self.batch_people = Histogram(
            "alignhmr_batch_people", description="People in a batch; a count.", boundaries=_COUNTS
        )
        self.score = Histogram(
            "alignhmr_person_score",
            description="Logistic of HMR-Scorer's score of the selected answer; 0.5 is a score of 0.",
            boundaries=_SHARES,
        )
        self.expected_error = Histogram(
            "alignhmr_person_expected_error_mm",
            description="HMR-Scorer's expected error of the selected answer, mm.",
            boundaries=_ERRORS_MM,
        )

    def saw(self, seen: Seen | InputError) -> None:
        """Counts a picture and the scores of its people."""
        if isinstance(seen, InputError):
            self.pictures.inc(1, {"outcome": seen.code})
            return
        self.pictures.inc(1, {"outcome": "people" if seen.recoveries else "nobody"})
        for recovery in seen.recoveries:
            hypotheses, chosen = recovery.hypotheses, recovery.selected
            # Ray's histograms have positive bounds only, and scores have any sign.
            self.score.observe(1 / (1 + math.exp(-min(max(float(hypotheses.scores[chosen]), -50), 50))))
            self.expected_error.observe(float(hypotheses.expected_error_mm[chosen]))

    def spent(self, timings: Timings) -> None:
        for stage, milliseconds in timings.model_dump().items():
            self.stage.observe(milliseconds / 1e3, {"stage": stage})


@cache
def meters() -> Meters:
    """Those of this process. Made on first use, inside a replica: only there does Serve know its name."""
    return Meters()


class Counted:
    """Counts every answer of the application, refusals and failures too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                code = headers.get(CODE_HEADER.lower().encode(), b"").decode()
                # The route's template, not the path: callers must not be able to make new series.
                route = getattr(scope.get("route"), "path", "unknown")
                meters().requests.inc(1, {"route": route, "status": str(message["status"]), "code": code})
            await send(message)

        await self.app(scope, receive, watched if scope["type"] == "http" else send)


async def exposition() -> str:
    """Everything that Ray's agents export of the service, in Prometheus' text form, each family once.

    A node that doesn't answer is missing from it, and is counted; ServiceError where none answers.
    """
    nodes = await asyncio.to_thread(ray.nodes)
    urls = [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in nodes
        if node["Alive"]
    ]
    pages = await asyncio.gather(*(asyncio.to_thread(_fetched, url) for url in urls))
    answered = [page for page in pages if page is not None]
    if not answered:
        raise ServiceError(
            "no node's metrics agent answers; ask again in 10 s", code="not_ready", retry_after_s=10.0
        )
    return joined(answered) + (
        "# HELP alignhmr_nodes Nodes by whether their metrics are in this page; a count.\n"
        "# TYPE alignhmr_nodes gauge\n"
        f'alignhmr_nodes{{answered="yes"}} {len(answered)}\n'
        f'alignhmr_nodes{{answered="no"}} {len(pages) - len(answered)}\n'
    )


def joined(pages: list[str]) -> str:
    """One page of several, in which a family's samples stand together, and only those of the service."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for page in pages:
        about: list[str] = []
        samples: list[str] = []
        for line in page.splitlines():
            if line.startswith("# HELP "):
                about, samples = families.setdefault(line.split(maxsplit=3)[2], ([], []))
            if not line.startswith("#"):
                samples.append(line)
            elif len(about) < 2:  # HELP and TYPE, from the first page that has them
                about.append(line)
    kept = (family for name, family in families.items() if name.startswith(_OURS))
    return "".join(f"{line}\n" for about, samples in kept for line in (*about, *samples))


def _fetched(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=_SCRAPE_TIMEOUT_S) as response:
            return response.read().decode()
    except OSError as error:
        log.warning("metrics of %s are missing: %s", url, error)
        return None
