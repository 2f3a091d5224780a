"""How a client reaches its server: address, token, certificates, patience."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import grpc

from minireranker.errors import ConfigurationError

from .callers import AUTHORIZATION
from .retrying import Retries

__all__ = ["ClientOptions"]


@dataclass(frozen=True)
class ClientOptions:
    """Everything but the address. Raises ConfigurationError where parts do not fit together."""

    token: str | None = field(default=None, repr=False)
    tls: bool = False
    """On by itself with any of the files below."""
    ca: Path | None = None
    """PEM authorities of the server; None: the system's."""
    certificate: Path | None = None
    """PEM chain to show where the server asks for one."""
    key: Path | None = field(default=None, repr=False)
    timeout: float | None = 60.0
    """Seconds for a call and its repetitions; None: as long as it takes."""
    retries: Retries = field(default_factory=Retries)
    upload_documents: int = 64
    """Documents of one upload: what is sent again if it breaks off."""
    upload_bytes: int = 16 * 2**20
    """Likewise."""

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("certificate and key come together: give both")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigurationError(f"timeout = {self.timeout!r}: allowed is above 0, or None")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of every call."""
        return () if self.token is None else ((AUTHORIZATION, f"Bearer {self.token}"),)

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """For TLS; None: in the clear. Raises ConfigurationError for files that cannot be read."""
        files = self.ca, self.key, self.certificate
        if not (self.tls or any(files)):
            return None
        return grpc.ssl_channel_credentials(*(None if one is None else _read(one) for one in files))

    @property
    def channel(self) -> list[tuple[str, int]]:
        """Of gRPC: how long a message may be is the server's affair; reconnecting is quick."""
        return [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.enable_retries", 0),
        ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; check the path") from error
