"""Which target a URL names."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from .connections import Connections
from .http_sidecar import HttpSidecar
from .remote import Remote
from .sidecar import Sidecar, address_of

__all__ = ["check_url", "connect", "is_here"]


def connect(url: str, token: str | None = None) -> Remote:
    """``grpc://host:port`` (or that alone) or ``http(s)://host:port``; ``token``: a bearer's.

    Raises ConfigurationError, and MissingDependencyError for gRPC without its client.
    """
    return HttpSidecar(url, token) if _is_http(url) else Sidecar(url, token)


def check_url(url: str) -> None:
    """Raise ConfigurationError for what ``connect`` would; nothing is imported or opened."""
    if _is_http(url):
        Connections(url, None)
    else:
        address_of(url)


def is_here(url: str) -> bool:
    """Whether a target's address is this machine's own by its letters."""
    host = (urlsplit(url if "//" in url else f"//{url}").hostname or "").lower()
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))
