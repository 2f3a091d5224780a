"""Which addresses of the network a server may fetch from: public ones, in whatever spelling."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Address", "Network", "address_of", "is_allowed", "looks_numeric"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_BLOCKED = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",  # a cloud's own service, at a public address
            *("2001:db8::/32", "3fff::/20"),
        ),
    )
)
"""IANA's special-purpose registries (RFC 6890 and later), whatever this Python knows of them."""

_UNICAST = ipaddress.ip_network("2000::/3")
"""All that is public of IPv6."""

_EMBEDDING = (
    (ipaddress.ip_network("64:ff9b::/96"), 0),
    (ipaddress.ip_network("64:ff9b:1::/48"), None),
    (ipaddress.ip_network("2001::/32"), None),
    (ipaddress.ip_network("2002::/16"), 80),
)
"""IPv6 networks that lead to an IPv4 address, and where in the 128 bits that stands; None: nothing
in such a network is public enough to look (local NAT64, Teredo)."""

_NUMERIC = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)")


def address_of(text: str) -> Address | None:
    """An address as the resolver writes it; None for anything else, and for one with a zone."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    has_zone = isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None
    return None if has_zone else address


def is_allowed(address: Address, networks: Iterable[Network] = ()) -> bool:
    """Whether it is public, or in one of ``networks``, and so is the address inside it, if any."""
    inner = _inner(address)
    if inner is not None and inner != address:
        return is_allowed(inner, networks)
    if any(address in network for network in networks):
        return True
    if inner is None or any(address in network for network in _BLOCKED):
        return False
    return address.is_global and (address.version == 4 or address in _UNICAST)


def looks_numeric(host: str) -> bool:
    """Whether a host name may be read as an IPv4 address by some program: ``0x7f.1`` for one.

    As the URL standard has it: its last label is a number, decimal, octal or hexadecimal.
    """
    labels = host.rstrip(".").split(".")
    return bool(_NUMERIC.fullmatch(labels[-1]))


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 one stands for, itself if it stands for none, None: unknown."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    for network, shift in _EMBEDDING:
        if address in network:
            if shift is None:
                return None
            return ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return address
