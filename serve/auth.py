"""Who is asking: bearer tokens, and the tenants they belong to.

A token is looked for among all of them in the same time, wherever it stands and however much of it
is right.
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError

from .config import ServeConfig
from .options import ServiceOptions
from .refusals import UnauthenticatedError

__all__ = ["Tenant", "Tokens", "read_tenants", "service_options"]

_KINDS = {"token": str, "queue_documents": int, "disk_bytes": int, "show_cache": bool}


@dataclass(frozen=True)
class Tenant:
    """One table of the tenants' file. Raises ConfigurationError for what cannot be honoured."""

    name: str
    """"" is who comes with the server's single token, or without any where none is needed."""
    token: str = field(repr=False)
    """Printable ASCII without blanks, 16 characters or more."""
    queue_documents: int | None = None
    """Documents that may wait; None: as configured for all."""
    disk_bytes: int | None = None
    """Bytes of its entries in the cache folder; None: no quota."""
    show_cache: bool | None = None
    """Whether it is told what was served from the cache; None: as configured for all."""

    def __post_init__(self) -> None:
        """Check the token and the numbers."""
        text = self.token
        if len(text) < 16 or not text.isascii() or not text.isprintable() or " " in text:
            raise ConfigurationError(
                f"token of tenant {self.name!r}: allowed are 16 or more printable ASCII "
                "characters without blanks; make one with openssl rand -hex 32"
            )
        for name in ("queue_documents", "disk_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(
                    f"{name} = {value} of tenant {self.name!r}: allowed is 1 or more"
                )


def read_tenants(config: ServeConfig) -> tuple[Tenant, ...]:
    """Everyone who has a token: the tables of ``config.tenants``, and "" for ``config.token``.

    Raises ConfigurationError for a file that cannot be read, and for tokens that two share.
    """
    found = [] if config.token is None else [Tenant("", config.token)]
    if config.tenants is not None:
        found += _read(config.tenants)
    if len({tenant.token for tenant in found}) < len(found):
        raise ConfigurationError("two tenants have the same token: give each its own")
    return tuple(found)


def service_options(config: ServeConfig, tenants: Sequence[Tenant]) -> ServiceOptions:
    """What the service needs of a configuration, with the tenants' quotas."""
    return ServiceOptions(
        queue_documents=config.queue_documents,
        queue_seconds=config.queue_seconds,
        tenant_documents=config.tenant_documents,
        quotas={item.name: item.queue_documents for item in tenants if item.queue_documents},
        queue_bytes=config.queue_bytes,
        max_documents=config.call_documents,
        max_queries=config.call_queries,
        round_documents=config.round_documents,
        round_tokens=config.round_tokens,
        slice_documents=config.slice_documents,
        show_cache=config.show_cache,
        show_cache_to={
            item.name: item.show_cache for item in tenants if item.show_cache is not None
        },
    )


class Tokens:
    """The ``seams.Authenticator`` of a list of tenants; of none, it lets everybody in as ""."""

    def __init__(self, tenants: Iterable[Tenant], *, is_guarded: bool) -> None:
        """``is_guarded``: whether a call needs a token at all."""
        self._known = [(_digest(tenant.token), tenant.name) for tenant in tenants]
        self._is_guarded = is_guarded

    def tenant(self, authorization: str | None) -> str:
        """See ``seams.Authenticator``. Raises UnauthenticatedError."""
        if not self._is_guarded:
            return ""
        scheme, _, token = (authorization or "").partition(" ")
        given, name = _digest(token.strip()), None
        for known, owner in self._known:
            # No early end: how long it takes says nothing about who is there.
            name = owner if hmac.compare_digest(known, given) else name
        if name is None or scheme.lower() != "bearer":
            raise UnauthenticatedError(
                "no valid token: send the header Authorization: Bearer TOKEN"
            )
        return name


def _digest(token: str) -> bytes:
    """Of equal length for every token, so that comparing does not tell its length."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _read(path: Path) -> list[Tenant]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"tenants file {path}: {error.strerror}") from error
    except ValueError as error:  # its words may quote a token
        raise ConfigurationError(f"tenants file {path} is no TOML: check its syntax") from error
    if not tables:
        raise ConfigurationError(f"tenants file {path} names nobody: add a [name] with a token")
    return [_tenant(path, name, table) for name, table in tables.items()]


def _tenant(path: Path, name: str, table: Any) -> Tenant:
    if not isinstance(table, dict) or "token" not in table:
        raise ConfigurationError(f"tenants file {path}: {name!r} has no token: write [{name}]")
    for key, value in table.items():
        if key not in _KINDS:
            known = ", ".join(_KINDS)
            raise ConfigurationError(f"tenants file {path}: [{name}] has {key}, not {known}")
        if type(value) is not _KINDS[key]:
            kind = _KINDS[key].__name__
            raise ConfigurationError(f"tenants file {path}: {key} of [{name}] is no {kind}")
    return Tenant(name, **table)
