"""Finds a client's address behind proxies that are trusted."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address of the last client that no trusted proxy is.

    `peer` is who is connected, `forwarded_for` the values of `X-Forwarded-For` in their order. What a proxy that is
    not trusted wrote is not read: anybody could have written it.
    """
    address = peer
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
    while hops and _is_in(address, trusted):
        nearer = hops.pop()
        if not _is_address(nearer):
            break
        address = nearer
    return address


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
