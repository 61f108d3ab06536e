"""`alignhmr assets`: what the manifest names, what of it is in the cache, and fetching it."""

import time

from rich.console import Console
from rich.table import Table

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
        console.print(manifest_table())
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


def manifest_table() -> Table:
    """One row for each asset: what for, from which wheel, under what licence, and whether it is cached."""
    table = Table("asset", "for", "from", "MB", "licence", "cached", box=None, header_style="bold")
    found = assets.verify()
    for asset in assets.list_assets():
        state = _state(asset.name, found)
        source = f"{asset.package} {asset.version}"
        table.add_row(asset.name, asset.purpose, source, f"{asset.size_mb:.0f}", asset.licence, state)
    return table


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
