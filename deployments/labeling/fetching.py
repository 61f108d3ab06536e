"""Pictures from the web, if a run asks for them: no way into private networks, bounded size and time, opt-outs kept.

A name is resolved once for each request, every address that it has is judged, and the connection goes to an
address that was judged: a name that resolves to something else a moment later (DNS rebinding) gains nothing. A
redirect is a new address and is judged like the first.
"""

import http.client
import ipaddress
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from alignhmr.core.errors import ImageError

AGENT = "alignhmr"
_REDIRECTS = (301, 302, 303, 307, 308)
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CHUNK = 1 << 16
_AS_IT_IS = "/%:@!$&'()*+,;=~-._"
_LONGEST_WAIT_S = 30.0
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Transient(Exception):
    """Worth another try; ``wait_s`` is what the server asked for."""

    def __init__(self, reason: str, code: str = "fetch_failed", wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.code, self.wait_s = code, wait_s


def resolve(host: str, port: int) -> list[str]:
    """Every address of a host; raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True)
class Fetcher:
    """Fetches over http and https. It travels to the workers."""

    timeout_s: float = 30.0
    """For one try, redirects and all."""
    retries: int = 2
    wait_s: float = 1.0
    """Before the first retry; doubled for each further one, and spread by chance."""
    max_redirects: int = 5
    allow_networks: tuple[str, ...] = ()
    """Private networks that may be asked all the same, such as 10.1.0.0/16."""
    opt_out: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex")
    """Directives of ``X-Robots-Tag`` that are honoured."""
    resolve: Callable[[str, int], list[str]] = resolve

    def fetch(self, uri: str, max_bytes: int) -> bytes:
        """The bytes behind an address; raises ImageError with a code of stage 'read'."""
        for attempt in range(self.retries + 1):
            try:
                return self._follow(uri, max_bytes, time.monotonic() + self.timeout_s)
            except _Transient as error:
                if attempt == self.retries:
                    raise ImageError(f"{uri}: {error}", code=error.code) from error
                wait_s = self.wait_s * 2**attempt * random.uniform(0.5, 1.5)
                time.sleep(min(max(wait_s, error.wait_s or 0.0), _LONGEST_WAIT_S))
        raise AssertionError("unreachable")

    def _follow(self, uri: str, max_bytes: int, deadline: float) -> bytes:
        here = uri
        for _ in range(self.max_redirects + 1):
            answer = self._ask(here, max_bytes, deadline)
            if isinstance(answer, bytes):
                return answer
            here = urljoin(here, answer)
        raise ImageError(f"{uri} redirects more than {self.max_redirects} times", code="fetch_failed")

    def _ask(self, uri: str, max_bytes: int, deadline: float) -> bytes | str:
        """The body, or where it redirects to."""
        parts, port = _parsed(uri)
        assert parts.hostname is not None
        address = self._address(uri, parts.hostname, port)
        target = quote(parts.path or "/", safe=_AS_IT_IS)
        if parts.query:
            target += "?" + quote(parts.query, safe=_AS_IT_IS + "?")
        try:
            connection = _connect(parts.scheme, parts.hostname, address, port, deadline)
        except TimeoutError as error:
            raise _Transient(f"no connection within {self.timeout_s:g} s", "timed_out") from error
        except (OSError, ssl.SSLError) as error:
            raise _Transient(f"no connection ({error})") from error
        # A server that sends a byte now and then would never run into the socket's own time limit.
        timer = threading.Timer(max(deadline - time.monotonic(), 0.01), _cut, [connection.sock])
        timer.daemon = True
        timer.start()
        try:
            headers = {"User-Agent": AGENT, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as response:
                return self._answer(uri, response, max_bytes)
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() >= deadline - 0.05:
                raise _Transient(f"not whole within {self.timeout_s:g} s", "timed_out") from error
            raise _Transient(f"the connection broke ({type(error).__name__})") from error
        finally:
            timer.cancel()
            connection.close()

    def _answer(self, uri: str, response: http.client.HTTPResponse, max_bytes: int) -> bytes | str:
        status, location = response.status, response.headers.get("Location")
        if status in _REDIRECTS and location:
            return location
        if status in _TRY_AGAIN:
            raise _Transient(
                f"the server answered {status}", wait_s=_seconds(response.headers.get("Retry-After"))
            )
        if status in (404, 410):
            raise ImageError(f"{uri} doesn't exist (the server answered {status})", code="missing")
        if status in (401, 403, 451):
            raise ImageError(f"{uri} may not be read (the server answered {status})", code="forbidden")
        if status != 200:
            raise ImageError(f"{uri}: the server answered {status}", code="fetch_failed")
        said = opted_out(response.headers.get_all("X-Robots-Tag") or [], self.opt_out)
        if said:
            raise ImageError(f"{uri} asks not to be used: X-Robots-Tag: {said}", code="opted_out")
        told = response.headers.get("Content-Length", "")
        if told.isdigit() and int(told) > max_bytes:
            raise ImageError(f"{uri} has {told} bytes, allowed are {max_bytes}", code="too_large")
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > max_bytes:
                raise ImageError(
                    f"{uri} has more than {max_bytes} bytes, which are allowed", code="too_large"
                )
        if told.isdigit() and len(body) < int(told):
            raise OSError(f"{len(body)} of {told} bytes came")
        return bytes(body)

    def _address(self, uri: str, host: str, port: int) -> str:
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise _Transient(f"the name {host!r} isn't found ({error})") from error
        for text in found:
            if not self._allowed(ipaddress.ip_address(text.partition("%")[0])):
                raise ImageError(
                    f"{uri} lies at {text}, which is no public address; if it is meant, put its network into"
                    " fetch.allow_networks",
                    code="refused_address",
                )
        if not found:
            raise _Transient(f"the name {host!r} has no address")
        return found[0]

    def _allowed(self, address: Address) -> bool:
        inner = _embedded(address)
        networks = [ipaddress.ip_network(network) for network in self.allow_networks]
        if any(inner in network for network in networks if network.version == inner.version):
            return True
        return inner.is_global and not inner.is_multicast


def opted_out(tags: list[str], directives: tuple[str, ...]) -> str | None:
    """The tag that asks every reader, or this one by name, not to use the picture; None if none does."""
    for tag in tags:
        agent, colon, rest = tag.partition(":")
        named = colon and re.fullmatch(r"[\w.-]+", agent.strip()) and "," not in agent
        if named and agent.strip().lower() not in (AGENT, "unavailable_after"):
            continue
        said = rest if named else tag
        if any(word.strip().lower() in directives for word in said.split(",")):
            return tag
    return None


def _parsed(uri: str):
    try:
        parts = urlsplit(uri)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise ImageError(f"{uri[:200]!r} is no web address ({error})", code="bad_location") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ImageError(f"{uri[:200]!r} is no http or https address", code="bad_location")
    if re.search(r"[\x00-\x20\x7f]", uri):
        raise ImageError(f"{uri[:200]!r} holds spaces or control characters", code="bad_location")
    return parts, port


def _connect(scheme: str, host: str, address: str, port: int, deadline: float) -> http.client.HTTPConnection:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    sock = socket.create_connection((address, port), timeout=left_s)
    if scheme == "https":
        try:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
    connection = http.client.HTTPConnection(host, port)
    connection.sock = sock
    return connection


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address
    return address


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
