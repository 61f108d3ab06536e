"""``alignhmr serve``: check the port, start Ray, deploy, wait until ready, say how to call, stop cleanly."""

import contextlib
import logging
import os
import shlex
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from alignhmr.core.errors import AcceleratorError, InputError, ServiceError, SetupError
from alignhmr.deployments.serving.address import check_port, is_loopback, reachable

if TYPE_CHECKING:
    from alignhmr.core.recovery import Recoverer
    from alignhmr.deployments.serving.settings import ServeSettings

log = logging.getLogger(__name__)

APPLICATION = "alignhmr"
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 40.0
"""A little more than replicas' own time to finish their requests (``build.GRACE_S``)."""


@dataclass(frozen=True)
class Service:
    """A running service: where it is, and how to end it."""

    url: str
    owns_ray: bool
    """Whether Ray was started for this service, and ends with it."""
    ingresses: int = 1
    most_held: int = 64
    """Requests in one of them."""

    def replicas(self) -> int:
        """Model replicas that answer now, of the kind that there are fewest of."""
        from alignhmr.deployments.serving.readiness import running_replicas

        return min(running_replicas(APPLICATION).values())

    def stop(self, *, drain: bool = True) -> None:
        """Ends the service, its requests in progress answered, and the Ray that was started for it."""
        from ray import serve

        from alignhmr.deployments import runtime

        # Ended all at once, an ingress would call models that are gone, and a proxy hang up on who waits. Bounded:
        # a signal to the whole process group ends Ray's processes, too, and then nobody answers.
        drained = not drain or _finishes(self._drain, STOP_TIMEOUT_S)
        for end in (partial(serve.delete, APPLICATION), serve.shutdown):
            _finishes(end, STOP_TIMEOUT_S)
        runtime.shutdown()
        if not drained:
            log.warning("the service did not finish its requests within %g s and was ended", STOP_TIMEOUT_S)

    def _drain(self) -> None:
        """Returns when every ingress takes nothing more and has answered what it took."""
        from ray import serve

        handle, ended = serve.get_app_handle(APPLICATION), set()
        # A call goes where fewer requests are: so many at once that each ingress gets one.
        calls = 1 if self.ingresses == 1 else self.ingresses * (self.most_held + 1)
        while len(ended) < self.ingresses:
            answers = [handle.drain.remote() for _ in range(calls)]
            ended |= {answer.result() for answer in answers}


def run(
    host: str = "127.0.0.1",
    port: int = 8000,
    base: str | Path = "starter",
    scorer: str | Path = "starter",
    body: str | Path = "open",
    detector: str = "blazepose",
    device: str = "auto",
    replicas: int | None = None,
    threads: int | None = None,
    keys: str | None = None,
    jobs: str | None = None,
    config: Path | None = None,
    block: bool = True,
) -> Service:
    """Serves until Ctrl-C or SIGTERM. ``replicas`` None: the load decides, up to half the cluster's cores.

    ``threads`` find people in each replica; None: the replicas share the cores where the machine is theirs,
    and have one each on somebody's cluster. ``config``, a YAML file of ``ServeSettings``, stands in place of
    everything but host and port.
    """
    with _sigterm_is_ctrl_c():
        service = None
        try:
            print(f"starting the service on {host}:{port} ...", flush=True)
            settings = None if config is None else read_settings(config)
            service = start(
                host, port, base, scorer, body, detector, device, replicas, threads, keys, jobs, settings=settings
            )  # fmt: skip
            if (keys if settings is None else settings.keys) is None and not is_loopback(host):
                print(
                    f"open to everyone who reaches {host}: no --keys are given (`alignhmr keys add` makes one)"
                )
            print(f"ready at {service.url} (API: {service.url}/openapi.json); Ctrl-C stops it")
            photo = (
                f"curl -F file=@photo.jpg -F outputs=json,overlay {shlex.quote(service.url + '/v1/recover')}"
            )
            print(f"try:  {photo}", flush=True)
            if block:
                _watch(service)
        except KeyboardInterrupt:
            print("\nstopping: requests in progress are finished first", flush=True)
        finally:
            if block and service is not None:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                service.stop()
                print("stopped", flush=True)
        if service is None:
            raise ServiceError("interrupted before the service was ready", code="interrupted")
        return service


def start(
    host: str = "127.0.0.1",
    port: int = 8000,
    base: str | Path = "starter",
    scorer: str | Path = "starter",
    body: str | Path = "open",
    detector: str = "blazepose",
    device: str = "auto",
    replicas: int | None = None,
    threads: int | None = None,
    keys: str | None = None,
    jobs: str | None = None,
    *,
    load: "Callable[[], Recoverer] | None" = None,
    settings: "ServeSettings | None" = None,
) -> Service:
    """The service, ready to answer. Port 0 is a free one; ``load`` and ``settings`` go before the rest."""
    port = check_port(host, port)
    if replicas is not None and replicas < 1:
        raise InputError(
            f"replicas is {replicas}; give a number from 1, or leave it out to let the load decide"
        )

    import ray
    from ray import serve

    from alignhmr.deployments import runtime
    from alignhmr.deployments.serving.build import (
        assemble,
        build_app,
        load_finder,
        load_further,
        load_recoverer,
    )
    from alignhmr.deployments.serving.keys import read_keys
    from alignhmr.deployments.serving.settings import Jobs, Pool, ServeSettings

    given = settings or ServeSettings(
        base=_absolute(base), scorer=_absolute(scorer), body=_absolute(body), detector=detector,
        keys=_location(keys), jobs=Jobs(location=_location(jobs)),
    )  # fmt: skip
    if given.keys is not None:
        read_keys(given.keys)
    # Loaded here once and dropped: what is wrong is said now, not by a replica that Serve keeps restarting.
    if load is not None:
        load()
    else:
        on_cpu = {"perception": Pool(device="cpu"), "recovery": Pool(device="cpu")}
        tried = given.model_copy(update=on_cpu)
        load_finder(tried)
        load_recoverer(tried)
        for name in given.checkpoints:
            load_further(tried, name)

    owns_ray = not ray.is_initialized() and "RAY_ADDRESS" not in os.environ
    runtime.start_ray()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        _refuse_second_serve()
        deployed = settings or _scaled(given, device, replicas, threads, owns_ray)
        application = build_app(deployed) if load is None else assemble(load, deployed)
        service = Service(
            f"http://{reachable(host)}:{port}", owns_ray, deployed.ingress_replicas, deployed.limits.max_held
        )
        try:
            serve.start(http_options={"host": host, "port": port})
            serve.run(application, name=APPLICATION, route_prefix="/")
            _wait_until_ready(service.url)
        except RuntimeError as error:
            reason = _failure() or str(error)
            service.stop(drain=False)
            raise SetupError(
                f"the service did not start: {reason}; Ray's session folder has the logs"
            ) from error
    except BaseException:
        if owns_ray:
            runtime.shutdown()
        raise
    log.info("serving at %s", service.url)
    return service


def read_settings(path: Path) -> "ServeSettings":
    """The settings of a YAML file. InputError says which key is wrong."""
    import yaml
    from pydantic import ValidationError

    from alignhmr.deployments.serving.settings import ServeSettings

    try:
        return ServeSettings.model_validate(yaml.safe_load(path.read_text()) or {})
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); give a YAML file of settings") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML ({' '.join(str(error).split())}); correct it") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path}: {where}: {first['msg']}; deployments/serving/settings.py lists every key"
        ) from None


def _failure() -> str | None:
    """Why a deployment of the application does not run, in a line."""
    from ray import serve

    status = serve.status().applications.get(APPLICATION)
    for name, deployment in (status.deployments if status else {}).items():
        # Serve's message ends with the replica's traceback, whose last line is the reason.
        lines = [line.strip() for line in deployment.message.splitlines() if line.strip()]
        if deployment.status not in ("HEALTHY", "UPDATING") and lines:
            return f"{name}: {lines[-1]}"
    return None


def _absolute(model: str | Path) -> str:
    """A preset's name as it is, a file's path from the root: replicas have a working directory of their own."""
    is_path = "/" in str(model) or str(model).endswith((".safetensors", ".npz"))
    return str(Path(model).absolute()) if is_path else str(model)


def _location(given: str | None) -> str | None:
    return given if given is None or "://" in given else str(Path(given).absolute())


def _refuse_second_serve() -> None:
    import ray

    with contextlib.suppress(ValueError):  # nobody of that name: as it should be
        ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
        raise SetupError(
            "Ray Serve already runs on this Ray cluster, with an address of its own; stop it, or deploy into"
            " it with `serve deploy`",
            code="serve_running",
        )


def _scaled(
    settings: "ServeSettings", device: str, replicas: int | None, threads: int | None, owns_ray: bool
) -> "ServeSettings":
    """The settings with devices, numbers of replicas and their threads that suit the cluster."""
    import ray

    from alignhmr.core.perception.detector import own_threads

    offered = ray.cluster_resources()
    gpus = _gpus_per_replica(device)
    if gpus:
        most = int(offered.get("GPU", 1))
    else:
        # One for every two cores; a Ray started here has more slots than cores.
        most = int((os.cpu_count() or 1) if owns_ray else offered.get("CPU", 1)) // 2
    most = replicas or max(1, most)
    pool = settings.recovery.model_copy(
        update={
            "device": "cuda" if gpus else "cpu",
            "gpus_per_replica": gpus,
            "min_replicas": replicas or 1,
            "max_replicas": most,
            "threads": threads or (own_threads(most) if owns_ray else 1),
        }
    )
    # BlazePose finds people on the CPU whatever there is, and a GPU that another detector needs is taken whole.
    on_cpu = {"device": "cpu", "gpus_per_replica": 0} if settings.detector == "blazepose" else {}
    return settings.model_copy(update={"perception": pool.model_copy(update=on_cpu), "recovery": pool})


def _finishes(action: Callable[[], object], seconds: float) -> bool:
    """Whether the action returned in time, and without an error; it goes on in its thread if it takes longer."""
    finished = threading.Event()

    def attempt() -> None:
        try:
            action()
            finished.set()
        except Exception as error:  # of a Ray that is ending, too
            log.info("not finished: %r", error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return finished.is_set()


def _gpus_per_replica(device: str) -> int:
    import ray

    from alignhmr.deployments import runtime

    if device == "cpu" or (device == "auto" and "GPU" not in ray.cluster_resources()):
        return 0
    # The cluster decides. Where it is this machine, torch must agree, or says why it doesn't.
    if "GPU" in ray.cluster_resources():
        return 1
    runtime.resolve_device(device)
    raise AcceleratorError(
        f"device {device!r} asks for a GPU, but the Ray cluster offers none; use --device cpu"
    )


def _wait_until_ready(url: str) -> None:
    give_up, seen = time.monotonic() + READY_TIMEOUT_S, ""
    while time.monotonic() < give_up:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
            return
        except OSError as error:  # not listening yet, or not 200
            seen = str(error)
        time.sleep(0.1)
    raise RuntimeError(f"{url}/readyz did not answer 200 within {READY_TIMEOUT_S:g} s ({seen})")


def _watch(service: Service) -> None:
    """Says when model replicas come and go, until interrupted."""
    known = service.replicas()
    while True:
        time.sleep(2)
        running = service.replicas()
        if running != known:
            note = "; another one is being started" if running == 0 else ""
            print(f"model replicas running: {running}{note}", flush=True)
        known = running


@contextlib.contextmanager
def _sigterm_is_ctrl_c():
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
