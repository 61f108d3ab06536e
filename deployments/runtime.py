"""Ray for this process: join the cluster that is there or start a small one here, and stop only that one."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alignhmr.core.errors import SetupError
from alignhmr.core.native_output import stderr_aside
from alignhmr.deployments import logs, torchvision_shim, tracing

log = logging.getLogger(__name__)

_FEW_CORES = 8
_SPARE_SLOTS = 4
_WORKER_THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
_PASSED_ON = (
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "ALIGNHMR_CACHE", "HF_HOME", logs.ASKED, logs.RUN,
    tracing.ASKED,
)  # fmt: skip
_started_here = False


def start_ray(num_cpus: int | None = None, *, include_dashboard: bool = False) -> None:
    """Makes Ray usable: keeps one that is initialised, joins RAY_ADDRESS, or starts one on this machine.

    ``num_cpus`` counts scheduling slots of a Ray started here, not cores. On a small machine there are a few
    more slots than cores by default: every stage of a pipeline holds one, and most of them mostly wait.
    """
    global _started_here
    import ray

    torchvision_shim.install()
    if ray.is_initialized():
        return
    # Ray reads these when it is imported or started. None of them overrides what the user set.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Ray's C++ side prints an error about each actor pool of Ray Data that no caller can avoid.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local: dict[str, Any] = (
        {} if address else {"num_cpus": num_cpus or logical_cpus(), "include_dashboard": include_dashboard}
    )
    if not address and os.environ.get(tracing.ASKED):
        local["_tracing_startup_hook"] = tracing.HOOK
    options = {
        "address": address or "local",
        "runtime_env": worker_environment(),
        "logging_level": logging.ERROR,
        "log_to_driver": False,
    }
    try:
        with _own_sigterm():
            _init_patiently(options | local)
    except ConnectionError as error:
        raise SetupError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error}); correct the address, or unset it to"
            " start Ray on this machine"
        ) from error
    _started_here = True
    _task_errors_to_the_log()
    log.info(
        "ray %s at %s, %s", "joined" if address else "started", address or "local", ray.cluster_resources()
    )


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Gives SIGTERM back to who had it: Ray takes it over when it starts, and then aborts on it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _init_patiently(options: dict[str, Any]) -> None:
    import ray

    for last in (False, True):
        try:
            with stderr_aside():
                ray.init(**options)
            return
        except Exception as error:
            # Ray waits 30 s for its own daemon, whatever the machine is doing; then it raises a bare Exception.
            if "timed out during startup" not in str(error):
                raise
            if last:
                raise SetupError(
                    "Ray didn't start within 30 s, twice; stop other work on this machine and try again"
                ) from error
            log.warning("Ray didn't start in time: trying once more")


def _task_errors_to_the_log() -> None:
    """Ray prints the errors of all tasks to the driver's stdout, its own too (a controller that was told to end
    before it did). Whoever waits for a task gets its error as an exception: here they are for the log."""
    from ray._private import worker

    def note(data: dict[str, Any], ignore_prefix: bool) -> None:
        log.info("ray: %s", " ".join(data["lines"]))

    worker.print_to_stdstream = note


def shutdown() -> None:
    """Leaves or stops the Ray that ``start_ray`` joined or started; one that was there before stays."""
    global _started_here
    if _started_here:
        import ray

        ray.shutdown()
        _started_here = False


def quiet_ray_data() -> None:
    """Leaves the terminal to our own progress; Ray Data's log files keep everything."""
    from ray.data import DataContext

    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.use_ray_tqdm = False


def logical_cpus() -> int:
    """Scheduling slots for a Ray on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return cores if cores > _FEW_CORES else cores + _SPARE_SLOTS


def worker_environment() -> dict:
    """Ray runtime environment of every worker."""
    variables = {name: os.environ.get(name, value) for name, value in _WORKER_THREADS.items()}
    variables |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Empty is unset for Python. Set, each new process would compile everything it imports once more.
    variables["PYTHONDONTWRITEBYTECODE"] = ""
    return {"env_vars": variables, "worker_process_setup_hook": f"{__name__}.prepare_worker"}


def prepare_worker() -> None:
    """Runs first in each worker process."""
    logs.configure()
    torchvision_shim.install(children=True)


def resolve_device(device: str = "auto") -> str:
    """'cpu', 'cuda' or 'cuda:N' as torch names it; 'auto' takes a GPU where there is one.

    Raises AcceleratorError where a GPU is asked for and there is none; on a cluster that is joined (RAY_ADDRESS) its
    nodes may have one, or get it, and this machine need not.
    """
    if device.startswith("cuda") and os.environ.get("RAY_ADDRESS"):
        return device
    from alignhmr.core.recovery import resolve_device as resolve

    return resolve(device)
