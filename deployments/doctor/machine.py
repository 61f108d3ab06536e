"""The machine: its GPU and driver, clock, disks, shared memory, open files, ports."""

import ctypes
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from alignhmr.core.errors import PortError
from alignhmr.core.perception.assets import cache_folder
from alignhmr.deployments.doctor.findings import Finding, fail, ok, warn
from alignhmr.deployments.serving.command import check_port

GIB = 2**30
_FULL_GIB, _SCARCE_GIB = 1.0, 10.0
"""The first is less than a start of Ray and one block take; a demo and its environment fit into the second."""
_STORE_SHARE = 0.3
"""Of the memory, that Ray's object store takes from /dev/shm."""
_OPEN_FILES = 4096
"""Fewer than these have been too few for Ray on a machine with many cores; it recommends 65,536."""
_RAY_PORTS = {6379: "Ray's head", 8265: "Ray's dashboard and job API", 10001: "Ray's client server"}
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


def gpu() -> Finding:
    """Whether torch can compute on the GPU that the driver shows."""
    import torch

    seen = _driver()
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        try:
            torch.ones(8, device="cuda").sum().item()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            return fail("gpu", f"{names}, but it can't compute: {reason}", "update the driver, or reboot")
        return ok("gpu", f"{names}; driver {seen or 'unknown'}; CUDA {torch.version.cuda}")
    if seen is None:
        return ok("gpu", "none: everything runs on the CPU")
    if torch.version.cuda is None:
        return fail(
            "gpu",
            f"driver {seen}, but torch {torch.__version__} is built for CPUs",
            "install the CUDA build: uv pip install --torch-backend auto torch=="
            + torch.__version__.split("+")[0],
        )
    return fail(
        "gpu",
        f"driver {seen}, but torch built for CUDA {torch.version.cuda} finds no GPU",
        f"install a driver that knows CUDA {torch.version.cuda}; in a container, start it with the GPU",
    )


def _driver() -> str | None:
    """The driver's version as nvidia-smi tells it; None where there is neither."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None


def clock() -> Finding:
    """Whether the kernel takes its clock for synchronised; S3 refuses requests of one that is far off."""
    try:
        # struct timex with modes 0: read only. 512 bytes are more than it has anywhere.
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        state = -1
    if state < 0:
        return warn("clock", "the system doesn't say if its clock is synchronised", "see that NTP runs")
    if state == _UNSYNCHRONISED:
        return warn(
            "clock",
            "nothing keeps the clock in step",
            "start chrony or systemd-timesyncd; S3 refuses requests that are 15 minutes off",
        )
    return ok("clock", "synchronised")


def disks() -> Iterator[Finding]:
    """Room where Ray, the books and assets are kept."""
    places = {"Ray and the books": Path(tempfile.gettempdir()), "assets": cache_folder()}
    for what, path in places.items():
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        if not os.access(existing, os.W_OK):
            # An image's assets may be read-only: what is missing of them is told elsewhere.
            tell = warn if what == "assets" else fail
            yield tell(
                "disk", f"{path} for {what} can't be written", "set TMPDIR or ALIGNHMR_CACHE to another"
            )
            continue
        free = shutil.disk_usage(existing).free / GIB
        said = f"{free:.1f} GiB free in {path} for {what}"
        if free < _FULL_GIB:
            yield fail("disk", said, f"make room: {_SCARCE_GIB:g} GiB are a good start")
        elif free < _SCARCE_GIB:
            yield warn("disk", said, f"make room for {_SCARCE_GIB:g} GiB: a million pictures' books take 0.2")
        else:
            yield ok("disk", said)


def shared_memory(folder: str = "/dev/shm") -> Finding:
    """Whether Ray's object store fits where it wants to be."""
    wanted = _STORE_SHARE * psutil.virtual_memory().total / GIB
    if not Path(folder).is_dir():
        return warn(
            "shared memory", f"there is no {folder}", "mount a tmpfs there, or Ray's store lies on a disk"
        )
    have = shutil.disk_usage(folder).total / GIB
    said = f"{have:.1f} GiB in {folder}, Ray's store takes up to {wanted:.1f}"
    if have < wanted:
        return warn(
            "shared memory",
            said,
            f"start the container with --shm-size={wanted:.0f}g: Ray's store lies on a disk else",
        )
    return ok("shared memory", said)


def open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"{soft} at once, at most {hard}"
    if 0 <= soft < _OPEN_FILES:
        return warn("open files", said, "raise it: ulimit -n 65536")
    return ok("open files", said)


def ports(host: str = "127.0.0.1", serving: int = 8000) -> Iterator[Finding]:
    """The one to serve on, and those that a Ray head takes."""
    try:
        check_port(host, serving)
        yield ok("port", f"{serving} on {host} is free to serve on")
    except PortError as error:
        said, _, mend = str(error).partition("; ")
        yield fail("port", said, mend)
    for port, whose in _RAY_PORTS.items():
        try:
            check_port("127.0.0.1", port)
        except PortError:
            yield warn(
                "port",
                f"{port} ({whose}) is in use",
                "fine where a Ray runs here; else end what listens there, or start Ray's head on other ports",
            )
