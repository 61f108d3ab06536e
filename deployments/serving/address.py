"""The address to serve on: whether it can be listened on, and who reaches it."""

import errno
import ipaddress
import socket

from alignhmr.core.errors import PortError


def check_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises PortError where it can't be listened on."""
    if not 0 <= port <= 65535:
        raise PortError(
            f"port {port} is out of range; give --port 1 to 65535, or 0 for a free one", code="bad_port"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        message = (
            f"host {host!r} can't be resolved ({error.strerror}); give --host 127.0.0.1, or 0.0.0.0 for all"
        )
        raise PortError(message, code="bad_host") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise _port_error(host, port, error) from None
        return probe.getsockname()[1]


def _port_error(host: str, port: int, error: OSError) -> PortError:
    if error.errno == errno.EADDRINUSE:
        return PortError(
            f"port {port} on {host} is in use; stop what listens there, or give another --port (0: any free)"
        )
    if error.errno == errno.EACCES:
        message = f"port {port} needs privileges this user lacks; give a --port from 1024 up"
        return PortError(message, code="port_forbidden")
    message = (
        f"{host}:{port} can't be listened on ({error.strerror}); give --host 127.0.0.1, or 0.0.0.0 for all"
    )
    return PortError(message, code="bad_host")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:  # not an address of IPv4
        return host == "::1"


def reachable(host: str) -> str:
    """An address that a client on this machine can use."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"[{host}]" if ":" in host else host
