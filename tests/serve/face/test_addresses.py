"""Addresses that nothing is fetched from, in every spelling, and those that are fine."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.serve.addresses import address_of, is_allowed, looks_numeric

PUBLIC = ["93.184.216.34", "8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"]
PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1"),
    *("127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7"),
    *("203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fec0::1", "ff02::1", "::2", "4000::1", "::ffff:0:127.0.0.1"),
]


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_fetched_from(text):
    assert is_allowed(address_of(text))


@pytest.mark.parametrize("text", PRIVATE)
def test_a_private_one_is_not(text):
    assert not is_allowed(address_of(text))


def wrapped(address):
    """IPv6 addresses that lead to an IPv4 one."""
    number = int(ipaddress.IPv4Address(address))
    words = f"{number >> 16:x}:{number & 0xFFFF:x}"
    yield f"::ffff:{address}"
    yield f"64:ff9b::{words}"
    yield f"2002:{words}::1"


@pytest.mark.parametrize("text", [a for a in PRIVATE if ":" not in a])
def test_a_private_one_is_not_reached_through_ipv6_either(text):
    assert [spelling for spelling in wrapped(text) if is_allowed(address_of(spelling))] == []


def test_a_public_one_is_however_it_is_wrapped():
    assert all(is_allowed(address_of(spelling)) for spelling in wrapped("8.8.8.8"))


@pytest.mark.parametrize("text", ["64:ff9b:1::808:808", "2001:0:4136:e378:8000:63bf:3fff:fdd2"])
def test_a_network_that_hides_where_it_leads_is_refused(text):
    assert not is_allowed(address_of(text))


def test_a_network_may_be_named_as_an_exception():
    networks = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("::1/128")]
    assert is_allowed(address_of("10.1.2.3"), networks)
    assert is_allowed(address_of("::ffff:10.1.2.3"), networks)
    assert is_allowed(address_of("::1"), networks)
    assert not is_allowed(address_of("10.2.2.3"), networks)


@pytest.mark.parametrize(
    "text", ["", "localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "fe80::1%eth0"]
)
def test_only_the_resolvers_spelling_is_an_address(text):
    assert address_of(text) is None


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "0x7f.1", "127.0.0.1"),
        *("example.0x", "1.2.3", "example.08", "127.0.0.1."),
    ],
)
def test_a_host_some_program_takes_for_an_address_looks_numeric(host):
    assert looks_numeric(host)


@pytest.mark.parametrize(
    "host", ["example.com", "1.example", "0x7f.example", "a-1", "xn--bcher-kva"]
)
def test_a_name_does_not(host):
    assert not looks_numeric(host)


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_what_python_calls_private_is_refused_however_it_is_wrapped(address):
    if not address.is_global or address.is_multicast:
        assert not is_allowed(address)
        assert not any(is_allowed(address_of(text)) for text in wrapped(address))


@settings(deadline=None)
@given(st.ip_addresses(v=6))
def test_nothing_outside_global_unicast_is_allowed(address):
    is_nat64 = address in ipaddress.ip_network("64:ff9b::/96")
    if address not in ipaddress.ip_network("2000::/3") and not is_nat64 and not address.ipv4_mapped:
        assert not is_allowed(address)
