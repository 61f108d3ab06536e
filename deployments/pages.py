"""Self-contained pages from a folder of templates."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2


def templates(folder: Path, filters: Mapping[str, Callable]) -> jinja2.Environment:
    """The folder's templates: what a run says is escaped, and a name that is missing is an error."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= filters
    return pages


def write_whole(text: str, path: Path) -> None:
    """Writes the page; a reader never sees half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
