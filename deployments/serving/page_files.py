"""The page at ``/``: files of this package, under a policy that lets a browser load nothing from elsewhere.

They are open without a key and outside the gate: who is refused shall be able to read why.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from alignhmr.deployments import demo

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for anew each time, and sent only where it changed: an upgraded service has an upgraded page.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    kind: str
    etag: str


def install(app: FastAPI) -> None:
    """The page's routes. Its links are relative, so that it works under any route prefix."""
    methods = ["GET", "HEAD"]
    app.add_api_route("/", _index, methods=methods, include_in_schema=False)
    app.add_api_route("/page/{name}", _asset, methods=methods, include_in_schema=False)


async def _index(request: Request) -> Response:
    return _answer(request, "index.html")


async def _asset(request: Request, name: str) -> Response:
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise HTTPException(404, "the page has no such file")
    headers = {**HEADERS, "ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.kind, headers=headers)


@cache
def _files() -> dict[str, _File]:
    """All of them by name: what is not listed can't be asked for. The demo's style is the page's, too."""
    folder = Path(__file__).parent / "page"
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in _KINDS}
    demo_style = (Path(str(demo.__file__)).parent / "page" / "style.css").read_bytes()
    contents["style.css"] = demo_style + contents.pop("page.css")
    return {
        name: _File(content, _KINDS[Path(name).suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
        for name, content in contents.items()
    }
