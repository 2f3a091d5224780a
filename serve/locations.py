"""URLs in requests, taken apart strictly: what is odd about one is refused, never repaired."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from minireranker import __version__
from minireranker.errors import MediaError

from .addresses import looks_numeric
from .config import ServeConfig

__all__ = ["Location", "is_url"]

_LONGEST = 8_192
_PLAIN = re.compile(r"[!-~]+")
_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PORTS = {"http": 80, "https": 443}


def is_url(text: str) -> bool:
    """Whether a text names a scheme, of whatever kind, and so is neither base64 nor a path."""
    return _SCHEME.match(text[:64]) is not None or text[:2] in ("//", "\\\\")


@dataclass(frozen=True)
class Location:
    """A URL whose host and port are allowed."""

    host: str
    port: int
    target: str
    """Path and query, as the request has them."""
    is_secure: bool

    @classmethod
    def of(cls, url: str, config: ServeConfig) -> Location:
        """A URL taken apart. Raises MediaError for what is not allowed, without repeating it."""
        if not config.url_hosts:
            raise _refused("URLs are not fetched by this server")
        parts = _split(url)
        if parts.scheme not in _PORTS:
            raise _refused("only http and https URLs are fetched")
        if "@" in parts.netloc:
            raise _refused("a URL with a user name or password is not fetched")
        host = _host(parts)
        if not any(_matches(host, rule) for rule in config.url_hosts):
            raise _refused("this URL's host is not one that is fetched from")
        port = _port(parts)
        if port not in config.url_ports:
            raise _refused("this URL's port is not one that is fetched from")
        query = f"?{parts.query}" if parts.query else ""
        return cls(host, port, (parts.path or "/") + query, parts.scheme == "https")

    @property
    def label(self) -> str:
        """How a message names it: its host was allowed, its path may hold a secret."""
        return f"the URL at {self.host}"

    @property
    def request(self) -> bytes:
        """What is sent."""
        port = "" if self.port == _PORTS["https" if self.is_secure else "http"] else f":{self.port}"
        lines = (
            f"GET {self.target} HTTP/1.1",
            f"Host: {self.host}{port}",
            f"User-Agent: minireranker/{__version__}",
            "Accept: image/*, video/*",
            "Accept-Encoding: identity",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode("ascii")


def _split(url: str) -> SplitResult:
    # urlsplit drops tabs and newlines, and other programs read a backslash as a slash.
    if len(url) > _LONGEST or not _PLAIN.fullmatch(url) or "\\" in url:
        raise _refused("this URL has blanks, control, other than ASCII or too many characters")
    try:
        return urlsplit(url)
    except ValueError:
        raise _refused("this is no URL") from None


def _host(parts: SplitResult) -> str:
    """A name in lower case. Addresses are no names: nothing is allow-listed by its number."""
    try:
        host = (parts.hostname or "").removesuffix(".")
    except ValueError:
        host = ""
    if not all(map(_LABEL.fullmatch, host.split("."))) or len(host) > 253:
        raise _refused("this URL's host is no plain name")
    if looks_numeric(host):
        raise _refused("this URL's host is an address; only names are fetched from")
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        raise _refused("this URL's port is no number") from None
    if port is None and parts.netloc.endswith(":"):
        raise _refused("this URL's port is empty")
    return _PORTS[parts.scheme] if port is None else port


def _matches(host: str, rule: str) -> bool:
    """By a name, by ``*.name`` for all below it, or by ``*``."""
    rule = rule.lower().removesuffix(".")
    if rule == "*":
        return True
    return host.endswith(rule[1:]) if rule.startswith("*.") else host == rule


def _refused(why: str) -> MediaError:
    return MediaError(f"{why}; send the bytes as base64 or a data: URI instead")
