"""Pictures from the web, against real servers on loopback: what is refused, bounded, honoured and tried again."""

import ipaddress
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from alignhmr.core.errors import ImageError
from alignhmr.deployments.labeling.fetching import Fetcher, opted_out, resolve

BODY = b"\xff\xd8 a picture " * 100


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path
        self.server.asked.append(path)
        if path.startswith("/redirect/"):
            return self.answer(302, b"", Location=unquote(path.removeprefix("/redirect/")))
        if path == "/loop":
            return self.answer(301, b"", Location="/loop")
        if path.startswith("/status/"):
            return self.answer(int(path.rpartition("/")[2]), b"no")
        if path == "/flaky":
            return self.answer(503 if self.server.asked.count(path) < 3 else 200, BODY)
        if path == "/busy":
            status = 429 if self.server.asked.count(path) < 2 else 200
            return self.answer(status, BODY, **{"Retry-After": "1"})
        if path.startswith("/robots/"):
            return self.answer(200, BODY, **{"X-Robots-Tag": path.removeprefix("/robots/").replace("_", " ")})
        if path == "/endless":
            self.send_response(200)
            self.end_headers()
            while True:
                try:
                    self.wfile.write(b"x" * 65536)
                except OSError:
                    return None
        if path == "/drip":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            for _ in range(200):
                try:
                    self.wfile.write(b"x")
                    time.sleep(0.05)
                except OSError:
                    break
            return None
        if path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            self.close_connection = True
            return None
        return self.answer(200, BODY)

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


LOOPBACK = Fetcher(timeout_s=2, retries=2, wait_s=0.01, allow_networks=("127.0.0.1/32",))


def code_of(fetcher, uri, max_bytes=10**6):
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(uri, max_bytes)
    return caught.value.code


def test_a_picture_comes_whole_also_through_redirects(server):
    assert LOOPBACK.fetch(f"{server.url}/a.jpg", 10**6) == BODY
    assert LOOPBACK.fetch(f"{server.url}/redirect//redirect//b.jpg?x=1", 10**6) == BODY
    assert server.asked[-1] == "/b.jpg?x=1"
    assert LOOPBACK.fetch(f"{server.url}/ünï.jpg?q=é&r=%C3%A9", 10**6) == BODY
    assert server.asked[-1] == "/%C3%BCn%C3%AF.jpg?q=%C3%A9&r=%C3%A9"
    assert code_of(LOOPBACK, f"{server.url}/loop") == "fetch_failed"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
        "169.254.169.254", "10.0.0.8", "192.168.1.1", "172.16.5.5", "100.64.0.1", "[fe80::1]", "[fd00::1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_however_they_are_written(server, host):
    fetcher = Fetcher(timeout_s=2, retries=0)
    assert code_of(fetcher, f"http://{host}:{server.server_port}/secret.jpg") == "refused_address"
    assert server.asked == []


@pytest.mark.parametrize("inside", ["http://169.254.169.254/latest", "http://[::1]:1/", "//10.0.0.1/x"])
def test_a_redirect_into_a_private_network_is_refused(server, inside):
    assert code_of(LOOPBACK, f"{server.url}/redirect/{inside}") == "refused_address"
    assert code_of(LOOPBACK, f"{server.url}/redirect/file:///etc/passwd") == "bad_location"


def test_a_name_that_changes_its_address_gains_nothing(server):
    """DNS rebinding: a name is asked for once a request, and the connection goes to the address that was judged."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked = []

    def rebinding(host, port):
        asked.append(host)
        return next(answers)

    fetcher = Fetcher(timeout_s=2, retries=0, allow_networks=("127.0.0.1/32",), resolve=rebinding)
    url = f"http://pictures.example:{server.server_port}"
    assert fetcher.fetch(f"{url}/a.jpg", 10**6) == BODY
    assert asked == ["pictures.example"], "the connection didn't ask again"
    assert code_of(fetcher, f"{url}/a.jpg") == "refused_address"


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    fetcher = Fetcher(retries=0, resolve=lambda host, port: ["93.184.216.34", "10.0.0.1"])
    assert code_of(fetcher, "http://mixed.example/a.jpg") == "refused_address"


def test_size_and_time_are_bounded(server):
    assert code_of(LOOPBACK, f"{server.url}/endless", max_bytes=200_000) == "too_large"
    assert code_of(LOOPBACK, f"{server.url}/a.jpg", max_bytes=100) == "too_large"
    start = time.monotonic()
    quick = Fetcher(timeout_s=0.6, retries=0, allow_networks=("127.0.0.1/32",))
    assert code_of(quick, f"{server.url}/drip") == "timed_out"
    assert time.monotonic() - start < 5, "a server that drips is cut off"
    assert code_of(LOOPBACK, f"{server.url}/short") == "fetch_failed"


def test_what_may_pass_is_tried_again_and_nothing_else(server):
    assert LOOPBACK.fetch(f"{server.url}/flaky", 10**6) == BODY
    start = time.monotonic()
    assert LOOPBACK.fetch(f"{server.url}/busy", 10**6) == BODY
    assert time.monotonic() - start >= 1, "Retry-After is honoured"
    for status, code, asked in (
        (500, "fetch_failed", 3),
        (404, "missing", 1),
        (403, "forbidden", 1),
        (418, "fetch_failed", 1),
    ):
        assert code_of(LOOPBACK, f"{server.url}/status/{status}") == code
        assert server.asked.count(f"/status/{status}") == asked


def test_opt_outs_are_honoured(server):
    for tag in ("noai", "noindex,_noai", "alignhmr:_noimageai", "NOAI"):
        assert code_of(LOOPBACK, f"{server.url}/robots/{tag}") == "opted_out"
    for tag in ("nofollow", "otherbot:_noai", "max-image-preview:large"):
        assert LOOPBACK.fetch(f"{server.url}/robots/{tag}", 10**6) == BODY
    assert opted_out(["noai"], ()) is None


@pytest.mark.parametrize(
    "uri", ["http://", "http://a b/", "http://h:99999/", "http://h/\r\nX: y", "ftp://h/a.jpg"]
)
def test_what_is_no_address_is_said(uri):
    assert code_of(Fetcher(retries=0), uri) == "bad_location"


def test_a_closed_port_and_an_unknown_name():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert code_of(LOOPBACK, f"http://127.0.0.1:{port}/") == "fetch_failed"
    assert code_of(Fetcher(retries=0), "http://no-such-name.invalid/") == "fetch_failed"


def test_the_resolver_gives_addresses():
    assert all(ipaddress.ip_address(address) for address in resolve("localhost", 80))
