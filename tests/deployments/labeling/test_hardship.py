"""What the world does to a run: pictures that kill or stop workers, 300 broken ones, storage that fails, the web."""

import importlib.util
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.schema import rows_from_table

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="session")
def broken_corpus():
    spec = importlib.util.spec_from_file_location(
        "broken_corpus", Path(__file__).with_name("broken_corpus.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_pictures_that_kill_or_stop_their_worker_are_set_aside(run_label, picture, tmp_path):
    for number in range(12):
        picture(tmp_path / "in" / f"good {number}.png", 20, number=number)
    poison = {"detector": 240, "hangs": 235, "recovery": 232, "scorer": 225}
    for name, order in poison.items():
        picture(tmp_path / "in" / f"{name}.png", order)
    rows, parts = run_label(tmp_path / "in", tmp_path / "out", guard__limit_s=3.0)
    found = {row["uri"].rpartition("/")[2]: row for row in rows}
    assert len(rows) == 16 and sum(part["images"] for part in parts) == 16
    told = {
        name: (found[f"{name}.png"]["error_stage"], found[f"{name}.png"]["error_code"]) for name in poison
    }
    assert told == {
        "detector": ("people", "worker_killed"), "hangs": ("people", "timed_out"),
        "recovery": ("recover", "worker_killed"), "scorer": ("score", "worker_killed"),
    }  # fmt: skip
    assert all(row["error_code"] is None for name, row in found.items() if name.startswith("good"))


def test_every_good_picture_among_300_broken_ones_is_labelled(run_label, broken_corpus, tmp_path):
    expected = broken_corpus.write_corpus(tmp_path / "in")
    bad = {name for name, code in expected.items() if code not in (None, broken_corpus.READ)}
    assert len(bad) >= 300 and len({name[:-7] for name in bad}) >= 25
    rows, _ = run_label(
        tmp_path / "in", tmp_path / "out", resources__images_per_block=32, resources__people__batch_size=32,
        resources__recover__batch_size=32, resources__score__batch_size=32,
    )  # fmt: skip
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["uri"].rpartition("/")[2], []).append(row)
    assert found.keys() == expected.keys()
    for name, code in expected.items():
        # What the fake detector finds is told by the colours: of those that are only to be read, any number.
        assert len(found[name]) == 1 or code == broken_corpus.READ, name
        told = found[name][0]["error_code"]
        if code == broken_corpus.ANY:
            assert told is not None and told != "no_person", name
        elif code == broken_corpus.READ:
            assert told in (None, "no_person"), (name, told)
        else:
            assert told == code, (name, told)


class Flaky(ThreadingHTTPServer):
    """Passes requests on to an S3 and spoils some of them: 500, 503, or late."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), FlakyHandler)
        self.upstream, self.count, self.spoiled = upstream, 0, Counter()
        self.lock = threading.Lock()

    def fate(self) -> str:
        with self.lock:
            self.count += 1
            fate = {3: "500", 5: "503", 7: "slow"}.get(self.count % 8, "good")
            self.spoiled[fate] += 1
            return fate


_OF_THE_CONNECTION = ("connection", "expect", "transfer-encoding")


class FlakyHandler(BaseHTTPRequestHandler):
    server: Flaky
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _pass_on(self):
        body = self._body()
        fate = self.server.fate()
        if fate in ("500", "503"):
            return self._answer(int(fate), {}, b"<Error><Code>SlowDown</Code></Error>")
        if fate == "slow":
            time.sleep(0.5)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OF_THE_CONNECTION}
        request = Request(
            self.server.upstream + self.path, data=body or None, headers=headers, method=self.command
        )
        try:
            with urlopen(request) as response:
                return self._answer(response.status, dict(response.headers), response.read())
        except OSError as error:
            status = getattr(error, "code", 502)
            data = error.read() if hasattr(error, "read") else b""  # type: ignore[attr-defined]
            return self._answer(status, {}, data)

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(pieces)

    def _answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on


def test_a_bucket_that_answers_500_503_and_late_costs_no_row(
    s3, picture, run_label_into, monkeypatch, tmp_path
):
    import os

    s3.create_bucket(Bucket="photos")
    for number in range(20):
        body = picture(tmp_path / "p.png", 20, number=number).read_bytes()
        s3.put_object(Bucket="photos", Key=f"in/{number}.png", Body=body)
    with Flaky(os.environ["AWS_ENDPOINT_URL"]) as flaky:
        threading.Thread(target=flaky.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{flaky.server_port}")
        output = Output.at("s3://photos/out")
        parts = run_label_into("s3://photos/in", output)
        rows = [row for name in output.parts() for row in rows_from_table(output.open_part(name).read())]
        flaky.shutdown()
    assert min(flaky.spoiled[fate] for fate in ("500", "503", "slow")) >= 3
    assert sorted(part["file"] for part in parts) == output.parts()
    assert len(rows) == 20 and all(row["error_code"] is None for row in rows)


class Web(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.strip("/")
        body = self.server.pictures.get(name, b"")  # type: ignore[attr-defined]
        self.send_response(200 if body else 404)
        if name == "no.png":
            self.send_header("X-Robots-Tag", "noai")
        self.end_headers()
        self.wfile.write(body)


def test_pictures_from_the_web_end_as_rows_too(run_label, picture, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    bodies = [picture(tmp_path / f"{number}.png", 20, number=number).read_bytes() for number in (0, 1)]
    server.pictures = dict(zip(("a.png", "no.png"), bodies, strict=True))  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    inside = f"http://127.0.0.2:{server.server_port}/a.png"
    (tmp_path / "list.txt").write_text(
        f"{url}/a.png\n{url}/no.png\n{url}/gone.png\n{inside}\nftp://x/y.png\n"
    )
    rows, _ = run_label(
        tmp_path / "list.txt", tmp_path / "out", fetch__enabled=True, fetch__allow_networks=["127.0.0.1/32"],
    )  # fmt: skip
    server.shutdown()
    server.server_close()
    assert [row["error_code"] for row in sorted(rows, key=lambda row: row["uri"])] == [
        "bad_location", None, "missing", "opted_out", "refused_address",
    ]  # fmt: skip
