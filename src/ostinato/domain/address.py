"""Which addresses are out in the public, which lead inside (to networks of ours, to the cloud), and which nobody opens.

A list of what is allowed, not of what is refused: IPv6 is public only within 2000::/3, and not where an address carries
another one inside (6to4, Teredo), for those lead wherever the inner one does. Source: IANA's registries of special
purpose addresses for IPv4 and IPv6. Knows nothing of names, nor of which addresses are this machine's own.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24
    203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20
    168.63.129.16/32
"""
INSIDE = tuple(map(ipaddress.ip_network, _SPECIAL.split()))
"""Networks that are not out in the public."""

PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
"""Where IPv6 is public, but for those above."""

TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64: the last 32 bits are the IPv4 address that is meant."""

_NEVER = """
    0.0.0.0/8 169.254.0.0/16 168.63.129.16/32 100.100.100.200/32 192.0.0.0/24 224.0.0.0/3 fd00:ec2::/32 fe80::/10
"""
NEVER = tuple(map(ipaddress.ip_network, _NEVER.split()))
"""What nobody can allow: services that hand a machine's own credentials to whoever asks, and what is no host at all."""


def is_public(address: Address) -> bool:
    """True where it is out on the internet, as far as its number tells."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in TRANSLATED:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.scope_id is not None or address not in PUBLIC_6:
            return False
    return not any(address in each for each in INSIDE)


def parse_address(text: str) -> Address | None:
    """An address as a name server gives it; an IPv4 address within IPv6 as itself. None where it is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
