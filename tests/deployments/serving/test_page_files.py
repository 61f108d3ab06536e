"""The page's files without a service: what a browser may do with them, and that nothing else is given out."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from alignhmr.deployments.serving import page_files

PAGE = Path(page_files.__file__).parent / "page"


@pytest.fixture
def http() -> TestClient:
    app = FastAPI()
    page_files.install(app)
    return TestClient(app)


def test_every_file_has_its_kind_and_the_policy(http):
    for path, kind in (("/", "text/html"), ("/page/app.js", "text/javascript"), ("/page/style.css", "text/css"),
                       ("/page/icon.svg", "image/svg+xml"), ("/page/example.jpg", "image/jpeg")):  # fmt: skip
        response = http.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"


def test_a_file_that_has_not_changed_is_not_sent_again(http):
    first = http.get("/")
    again = http.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.head("/").status_code == 200


@pytest.mark.parametrize(
    "name", ["page.css", "..%2Fapp.py", "../app.py", "app.py", "", "index.html%00", "%2Fetc%2Fpasswd"]
)
def test_nothing_but_the_page_is_given_out(http, name):
    assert http.get(f"/page/{name}").status_code == 404


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|javascript:", html)
    for file in PAGE.iterdir():
        if file.suffix in (".html", ".css", ".js", ".svg"):
            urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*", file.read_text()))
            assert urls <= {"http://www.w3.org/2000/svg"}, file.name  # a name, never loaded


def test_whatever_the_page_links_to_is_there(http):
    links = set(re.findall(r'(?:src|href)="(page/[^"]+)"', (PAGE / "index.html").read_text()))
    for file in PAGE.glob("*.js"):
        links |= {f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', file.read_text())}
        links |= set(re.findall(r'fetch\("(page/[^"]+)"', file.read_text()))
    assert len(links) >= 9
    for link in links:
        assert http.get("/" + link).status_code == 200, link
