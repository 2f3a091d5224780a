"""What ``minireranker serve`` can be told: one record, its defaults, and what each value may be.

Where a value comes from (file, environment, flags) is the matter of ``config_sources``.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError

__all__ = ["ServeConfig"]

_LEVELS = ("debug", "info", "warning", "error")
_PORTS = range(65_536)


def _says(words: str, **limits: Any) -> dict[str, Any]:
    """Metadata of a field: its help; optionally ``least``, ``most``, ``choices``, ``secret``."""
    return {"help": words, **limits}


@dataclass(frozen=True)
class ServeConfig:
    """Every setting of a server; the words beside a field are those of ``--help``.

    Raises ConfigurationError naming the field, its value and what is allowed.
    """

    model: str = field(default="", metadata=_says("A checkpoint directory, a hub id, or builtin."))
    profile: str = field(
        default="mini", metadata=_says("A profile's name, or a file that ends in .toml.")
    )
    embedder: str | None = field(
        default=None, metadata=_says("An embedding checkpoint that says what to keep.")
    )
    keep_ratio: float | None = field(
        default=None, metadata=_says("Share of visual tokens kept.", least=0.0, most=1.0)
    )
    device: str = field(default="auto", metadata=_says("auto, cpu, cuda, cuda:1 ..."))
    dtype: str = field(default="auto", metadata=_says("auto, float32, bfloat16 ..."))
    backend: str = field(default="auto", metadata=_says("Of band attention."))
    batch_tokens: int = field(
        default=4_096, metadata=_says("Rows of one pass of the engine.", least=1)
    )
    threads: int | None = field(
        default=None, metadata=_says("Of the CPU; none: all, one for a narrow model.", least=1)
    )
    warm_up: bool = field(default=True, metadata=_says("Rank something before saying ready."))

    cache: Path | None = field(
        default=None, metadata=_says("A folder to keep entries in; none: memory only.")
    )
    codec: str = field(
        default="exact", metadata=_says("How entries are kept: exact, bf16, fp8, int8 or int4.")
    )
    memory_bytes: int = field(default=4 * 2**30, metadata=_says("Entries held in memory.", least=0))
    disk_bytes: int | None = field(
        default=None, metadata=_says("Budget of the cache folder.", least=1)
    )

    host: str = field(default="127.0.0.1", metadata=_says("Address to listen on; 0.0.0.0 for all."))
    grpc_port: int | None = field(
        default=50_051, metadata=_says("Port of gRPC; 0: any free one.", choices=_PORTS)
    )
    http_port: int | None = field(
        default=None, metadata=_says("Port of HTTP; 0: any free one.", choices=_PORTS)
    )
    message_bytes: int = field(
        default=64 * 2**20, metadata=_says("Largest request, and gRPC answer.", least=1_024)
    )
    request_seconds: float = field(
        default=30.0, metadata=_says("For a client to send its request.", least=0.01)
    )
    connections: int = field(
        default=1_024, metadata=_says("Connections of a port, and gRPC calls, at a time.", least=1)
    )

    tls_certificate: Path | None = field(
        default=None, metadata=_says("PEM chain of the server; turns TLS on.")
    )
    tls_key: Path | None = field(default=None, metadata=_says("PEM key of the server."))
    tls_client_ca: Path | None = field(
        default=None, metadata=_says("PEM authorities of clients; turns mTLS on.")
    )
    token: str | None = field(
        default=None,
        repr=False,
        metadata=_says("Bearer token that every call must bring.", secret=True),
    )
    tenants: Path | None = field(
        default=None, metadata=_says("TOML file of tenants, their tokens and quotas.")
    )

    queue_documents: int = field(default=1_024, metadata=_says("Documents that may wait.", least=1))
    queue_seconds: float | None = field(
        default=None, metadata=_says("For an answer to come; else refused.", least=0.001)
    )
    queue_bytes: int = field(
        default=2**30, metadata=_says("Text and media that may wait.", least=1)
    )
    tenant_documents: int | None = field(
        default=None, metadata=_says("Of one tenant, documents that wait.", least=1)
    )
    call_documents: int = field(default=1_000, metadata=_says("Documents of one call.", least=1))
    call_queries: int = field(default=64, metadata=_says("Queries of one call.", least=1))
    round_documents: int = field(
        default=256, metadata=_says("Documents the engine gets at a time.", least=1)
    )
    round_tokens: int = field(
        default=16_384, metadata=_says("Tokens the engine gets at a time.", least=1)
    )
    slice_documents: int = field(
        default=64, metadata=_says("Of those, one call's before others have had theirs.", least=1)
    )
    deadline_seconds: float = field(
        default=60.0, metadata=_says("For calls that bring no deadline.", least=0.001)
    )
    grace_seconds: float = field(
        default=30.0, metadata=_says("For calls in flight when told to stop.", least=0.0)
    )

    url_hosts: tuple[str, ...] = field(
        default=(), metadata=_says("Hosts images may be fetched from; *.name for below.")
    )
    url_ports: tuple[int, ...] = field(default=(80, 443), metadata=_says("Ports of those."))
    url_networks: tuple[str, ...] = field(
        default=(), metadata=_says("Private networks that may be fetched from.")
    )
    url_bytes: int = field(default=20 * 2**20, metadata=_says("Largest file fetched.", least=1))
    url_seconds: float = field(
        default=10.0, metadata=_says("For one file to be fetched.", least=0.01)
    )
    url_connections: int = field(default=8, metadata=_says("Files fetched at a time.", least=1))
    url_held_bytes: int = field(
        default=512 * 2**20, metadata=_says("Fetched files held for calls in flight.", least=1)
    )
    path_roots: tuple[Path, ...] = field(
        default=(), metadata=_says("Folders files may be named in.")
    )
    document_media: int = field(
        default=64, metadata=_says("Images and videos of one document.", least=1)
    )
    image_pixels: int = field(default=50_000_000, metadata=_says("Of one image or frame.", least=1))
    video_frames: int = field(default=20_000, metadata=_says("In the file of a video.", least=1))

    show_cache: bool = field(
        default=True, metadata=_says("Tell callers what was served from the cache.")
    )
    docs: bool = field(default=True, metadata=_says("Serve /docs and /openapi.json."))
    page: bool = field(default=True, metadata=_says("Serve the page at /."))
    log_level: str = field(
        default="info", metadata=_says("Of: " + ", ".join(_LEVELS) + ".", choices=_LEVELS)
    )
    otlp_endpoint: str | None = field(
        default=None, metadata=_says("Where spans are sent; none: no tracing.")
    )

    def __post_init__(self) -> None:
        """Check each value, then those that only make sense together."""
        for spec in dataclasses.fields(self):
            _check(spec, getattr(self, spec.name))
        if self.keep_ratio == 0.0:
            raise _refused("keep_ratio", 0.0, "above 0 and at most 1")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ConfigurationError("tls_certificate and tls_key come together: give both")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ConfigurationError("tls_client_ca needs tls_certificate and tls_key: give them")
        if self.disk_bytes is not None and self.cache is None:
            raise ConfigurationError("disk_bytes needs a folder: give cache too")
        if self.token is not None and not self.token.strip():
            raise _refused("token", "***", "not blank; leave it out for a server without tokens")
        _check_networks(self.url_networks)

    @property
    def is_guarded(self) -> bool:
        """Whether a call needs a token."""
        return self.token is not None or self.tenants is not None


def _check(spec: dataclasses.Field[Any], value: Any) -> None:
    """Raise ConfigurationError for a value outside its field's metadata."""
    if value is None and "None" in str(spec.type):
        return
    if not _fits(value, str(spec.type)):
        raise _refused(spec.name, value, f"a value of type {spec.type}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _refused(spec.name, value, "a finite number")
    limits = spec.metadata
    if "least" in limits and value < limits["least"]:
        raise _refused(spec.name, value, f"{limits['least']} or more")
    if "most" in limits and value > limits["most"]:
        raise _refused(spec.name, value, f"at most {limits['most']}")
    if "choices" in limits and value not in limits["choices"]:
        known = limits["choices"]
        words = "0 to 65535" if known is _PORTS else "one of " + ", ".join(known)
        raise _refused(spec.name, value, words)


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value is of a field's type; a bool is no number here."""
    kind = annotation.removesuffix(" | None")
    if kind.startswith("tuple["):
        inner = kind[len("tuple[") : kind.index(",")]
        return isinstance(value, tuple) and all(_fits(item, inner) for item in value)
    if kind == "float":
        return type(value) in (int, float)
    known = {"str": str, "int": int, "bool": bool}
    return isinstance(value, Path) if kind == "Path" else type(value) is known[kind]


def _check_networks(networks: tuple[str, ...]) -> None:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise _refused("url_networks", network, "a network like 10.1.0.0/16") from error


def _refused(name: str, value: object, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"{name} = {value!r}: allowed is {allowed}")
