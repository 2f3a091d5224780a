"""Certificates and keys, read and checked once, for both transports."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from minireranker.errors import ConfigurationError

from .config import ServeConfig

__all__ = ["Credentials", "read_credentials"]


@dataclass(frozen=True)
class Credentials:
    """What a server shows, and whom it lets in, as PEM bytes."""

    certificate: bytes
    """The chain, the server's own first."""
    key: bytes = field(repr=False)
    client_ca: bytes | None
    """Whose certificates a client must have; None: it needs none."""
    context: ssl.SSLContext = field(repr=False)
    """For servers that speak TLS through Python: TLS 1.2 and later."""


def read_credentials(config: ServeConfig) -> Credentials | None:
    """The files of a configuration; None where it asks for no TLS.

    Raises ConfigurationError for files that cannot be read, are no PEM, or do not belong together.
    """
    if config.tls_certificate is None or config.tls_key is None:
        return None
    certificate, key = _read(config.tls_certificate), _read(config.tls_key)
    client_ca = None if config.tls_client_ca is None else _read(config.tls_client_ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A password would be asked for on the terminal, where nobody sits.
        context.load_cert_chain(config.tls_certificate, config.tls_key, password=_no_password)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            f"{config.tls_certificate} and {config.tls_key} are no certificate and its key: give "
            "PEM files that belong together, the key without a password"
        ) from error
    if client_ca is not None:
        _require_clients(context, client_ca, config)
    return Credentials(certificate, key, client_ca, context)


def _require_clients(context: ssl.SSLContext, client_ca: bytes, config: ServeConfig) -> None:
    try:
        context.load_verify_locations(cadata=client_ca.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"{config.tls_client_ca} holds no PEM certificates") from error
    context.verify_mode = ssl.CERT_REQUIRED


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; check the path") from error


def _no_password() -> str:
    return ""
