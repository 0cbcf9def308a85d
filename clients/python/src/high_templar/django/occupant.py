"""Finds out which program uses a port that the gateway is to listen on."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from high_templar.errors import PublishError
from high_templar.http import HttpTransport
from high_templar.transport import Deadline

TIMEOUT_SECONDS = 3.0
"""Time for the answer of whatever listens."""

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class Place(NamedTuple):
    """A TCP address of this machine."""

    host: str
    port: int

    @classmethod
    def of(cls, address: str) -> Place | None:
        """The place that a URL or ``host:port`` names; ``None`` if it is not on this machine."""
        try:
            parts = urlsplit(address if "://" in address else f"tcp://{address}")
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            return None
        host = parts.hostname or ""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        return cls(host, port) if port and is_loopback(host) else None

    @property
    def is_taken(self) -> bool:
        """Whether some program listens there."""
        try:
            socket.create_connection(self, TIMEOUT_SECONDS).close()
        except socket.timeout:  # another class before 3.10
            return True
        except OSError:
            return False
        return True

    @property
    def how_to_find(self) -> str:
        """How to find the program."""
        return f"find it with `ss -ltnp 'sport = :{self.port}'`"


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine; no host is, too."""
    if not host or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reason_for(
    public: str,
    internal: str,
    transport: HttpTransport | None = None,
    *,
    has_exited: bool = False,
) -> str:
    """Which port of the gateway another program uses, and how to find it; empty if none.

    ``transport`` asks at ``internal``, where that is not plain HTTP. With ``has_exited`` a gateway
    that answers there is another one.
    """
    place = Place.of(internal)
    if place is not None and place.is_taken:
        user = _user_of(place, transport)
        if user != _GATEWAY or has_exited:
            return f"port {place.port} is in use by {user}: {place.how_to_find}"
        return ""
    place = Place.of(public)
    if place is not None and place.is_taken:
        return f"port {place.port} is in use by {_OTHER}: {place.how_to_find}"
    return ""


_GATEWAY = "another high-templar gateway"
_OTHER = "another program"
_SILENT = "another program, or by a gateway that hangs"


def _user_of(place: Place, transport: HttpTransport | None) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    asking = transport or HttpTransport(f"http://{host}:{place.port}")
    try:
        return _GATEWAY if asking.is_gateway(Deadline(TIMEOUT_SECONDS)) else _OTHER
    except PublishError:
        return _SILENT
    finally:
        if transport is None:
            asking.close()
