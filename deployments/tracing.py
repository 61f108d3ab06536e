"""OpenTelemetry spans of Ray's tasks and actor calls, where they are asked for.

ALIGNHMR_TRACES names a folder: each process writes ``PID.jsonl`` there, a span a line. A Ray that is joined has to be
started with the hook: ``ray start --tracing-startup-hook=alignhmr.deployments.tracing:start``.
"""

import os
from pathlib import Path

from alignhmr.deployments.logs import RUN

ASKED = "ALIGNHMR_TRACES"
HOOK = f"{__name__}:start"
"""As Ray wants it named."""


def start() -> None:
    """Ray calls it in each process, the driver's too."""
    folder = os.environ.get(ASKED)
    if not folder:
        return
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    Path(folder).mkdir(parents=True, exist_ok=True)
    about = {"service.name": "alignhmr", "alignhmr.run": os.environ.get(RUN, ""), "process.pid": os.getpid()}
    provider = TracerProvider(resource=Resource.create(about))
    # One line a span, at once: a worker that is killed leaves what it has ended.
    out = open(Path(folder) / f"{os.getpid()}.jsonl", "a", buffering=1)
    exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
