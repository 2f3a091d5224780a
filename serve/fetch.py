"""One file from a URL that a client named, or a refusal: what stands between requests and networks.

Hosts are allow-listed. The name is resolved once, every address it has must be public, and the
connection goes to the address that was looked at, so that a name cannot change its mind in between.
No redirect is followed, no proxy asked, and bytes and seconds are bounded while they stream. What
goes wrong on the way is told in our words only, without saying what answered.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from minireranker.errors import MediaError

from .addresses import Address, Network, address_of, is_allowed
from .config import ServeConfig
from .locations import Location

__all__ = ["Fetcher", "resolve"]

_CHUNK = 2**16
_LOG = logging.getLogger(__name__)


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name, as the system's resolver has them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Fetcher:
    """Fetches within the rules of a configuration, a few files at a time."""

    def __init__(
        self, config: ServeConfig, resolver: Callable[[str, int], list[str]] = resolve
    ) -> None:
        """``resolver``: asked once a file."""
        self._config, self._resolver = config, resolver
        self._networks: list[Network] = [ipaddress.ip_network(n) for n in config.url_networks]
        self._tls = ssl.create_default_context()
        self._turns = asyncio.Semaphore(config.url_connections)
        self._threads = ThreadPoolExecutor(
            config.url_connections, thread_name_prefix="minireranker-fetch"
        )

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """The file at a URL; at most ``max_bytes`` and ``url_bytes`` of it.

        Raises MediaError for what is not allowed, too large, too slow, or not there.
        """
        where = Location.of(url, self._config)
        most = min(max_bytes, self._config.url_bytes)
        loop = asyncio.get_running_loop()
        async with self._turns:
            started = loop.run_in_executor(self._threads, self._fetch, where, most)
            try:
                # Names are resolved without a limit of their own: that thread is left to itself.
                return await asyncio.wait_for(started, 2 * self._config.url_seconds)
            except TimeoutError:
                raise _unreachable(where, "too slow") from None

    def close(self) -> None:
        """Take no more, without waiting."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, where: Location, most: int) -> bytes:
        deadline = time.monotonic() + self._config.url_seconds
        try:
            with self._connected(where, deadline) as connection:
                return _read(connection, where, most, deadline)
        except MediaError:
            raise
        except TimeoutError as error:
            raise _unreachable(where, "too slow") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _unreachable(where, "not reachable, or no sound answer") from error

    def _connected(self, where: Location, deadline: float) -> socket.socket:
        address = self._address(where)
        connection = socket.create_connection(
            (str(address), where.port), timeout=_left(deadline), all_errors=False
        )
        try:
            if where.is_secure:
                connection.settimeout(_left(deadline))
                return self._tls.wrap_socket(connection, server_hostname=where.host)
            return connection
        except BaseException:
            connection.close()
            raise

    def _address(self, where: Location) -> Address:
        """The one to connect to. One bad address among several is a trap, not a choice."""
        found = [address_of(text) for text in self._resolver(where.host, where.port)]
        if not found:
            raise _unreachable(where, "a name without an address")
        for address in found:
            if address is None or not is_allowed(address, self._networks):
                _LOG.warning("a URL led to a private address and was not fetched")
                raise MediaError(
                    f"{where.label} leads to an address that nothing is fetched from; send the "
                    "bytes instead"
                )
        assert found[0] is not None, "it was just looked at"
        return found[0]


@dataclass(eq=False)
class _Stream(io.RawIOBase):
    """A socket that gives up when the time is over, however steadily it drips."""

    connection: socket.socket
    deadline: float

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self.connection.settimeout(_left(self.deadline))
        return self.connection.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What ``http.client`` asks a socket for."""
        assert mode == "rb", "only reading"
        return io.BufferedReader(self, _CHUNK)


def _read(connection: socket.socket, where: Location, most: int, deadline: float) -> bytes:
    """Ask for the file, and take it while it is small enough. Raises MediaError and OSError."""
    connection.settimeout(_left(deadline))
    connection.sendall(where.request)
    stream = _Stream(connection, deadline)
    response = http.client.HTTPResponse(stream, method="GET")  # type: ignore[arg-type]
    try:
        response.begin()
        _check_answer(response, where, most)
        data = bytearray()
        while part := response.read(min(_CHUNK, most + 1 - len(data))):
            data += part
            if len(data) > most:
                raise _too_large(where, most)
        if response.length:
            raise _unreachable(where, "cut off on the way")
        return bytes(data)
    finally:
        response.close()


def _check_answer(response: http.client.HTTPResponse, where: Location, most: int) -> None:
    if 300 <= response.status < 400:
        raise MediaError(
            f"{where.label} redirects; redirects are not followed: name where it leads"
        )
    if response.status != 200:
        raise MediaError(f"{where.label} answers {response.status}; check it, or send the bytes")
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        raise MediaError(f"{where.label} is sent compressed, unasked; send the bytes instead")
    if (response.length or 0) > most:
        raise _too_large(where, most)


def _left(deadline: float) -> float:
    """Seconds until a deadline. Raises TimeoutError behind it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _too_large(where: Location, most: int) -> MediaError:
    return MediaError(f"{where.label} has over {most} bytes; reduce it, or send another")


def _unreachable(where: Location, why: str) -> MediaError:
    return MediaError(f"{where.label} could not be fetched ({why}); check it, or send the bytes")
