"""``alignhmr doctor``: looks at everything that a job needs here, and says how to mend what is wrong."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alignhmr.core.errors import SetupError
from alignhmr.deployments.doctor import machine, services, software
from alignhmr.deployments.doctor.findings import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def run(
    *, s3: str | None = None, host: str = "127.0.0.1", port: int = 8000, base: str = "starter", scorer: str = "starter",
    body: str = "open", ray: bool = True, as_json: bool = False, console: Console | None = None,
) -> list[Finding]:  # fmt: skip
    """Prints the findings; SetupError where one of them fails. Nothing is changed, but for a probe below ``s3``."""
    console = console or Console()
    found = list(examined(s3=s3, host=host, port=port, base=base, scorer=scorer, body=body, ray=ray))
    failed = [one for one in found if one.state == "fail"]
    if as_json:
        console.print_json(json.dumps({"ok": not failed, "findings": [asdict(one) for one in found]}))
    else:
        console.print(_table(found))
    if failed:
        names = ", ".join(dict.fromkeys(one.name for one in failed))
        raise SetupError(f"{len(failed)} of {len(found)} checks failed ({names}); each says how to mend it")
    return found


def examined(
    *, s3: str | None, host: str, port: int, base: str, scorer: str, body: str, ray: bool
) -> Iterator[Finding]:
    yield machine.gpu()
    yield from software.packages()
    yield from software.weights(base, scorer, body)
    yield from software.cached_assets()
    yield machine.clock()
    yield from machine.disks()
    yield machine.shared_memory()
    yield machine.open_files()
    yield from machine.ports(host, port)
    if s3 is not None:
        yield from services.s3(s3)
    if ray:
        yield services.ray_works()


def _table(found: list[Finding]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    for column in ("state", "name", "said"):
        table.add_column(column, overflow="fold", no_wrap=column != "said")
    for one in found:
        said = one.said + (f"\n→ {one.mend}" if one.mend else "")
        table.add_row(f"[{_COLOURS[one.state]}]{one.state}[/]", one.name, escape(said))
    return table
