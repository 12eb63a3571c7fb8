"""The one decision whether something of ours may connect to a host: declared by a person, and every address it has
is out in the public.

A name is looked up once, here, and the connection goes to an address that came from this one look: a second answer of
the name server changes nothing. Private addresses are reached only where a person wrote them: as `localhost:8080` or
`10.0.0.5:8080`, with the port, in TOOLS.md, or as networks in the fleet's file (`[web] private`). Knows nothing of
HTTP.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

from ostinato.domain.address import NEVER, Address, Network, is_public, parse_address
from ostinato.domain.errors import Denied, Exhausted
from ostinato.domain.host import covering_host
from ostinato.tools.web.target import Target

LOOKUP_S = 10.0
"""Seconds that a name server may take."""

ADDRESSES_MAX = 64
"""Addresses of one name that are looked at; a name with more is refused."""

LOCAL_NAME = "localhost"
_LOCAL = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a name. Raises OSError where there are none."""


async def resolve(host: str, port: int) -> list[str]:
    """By the machine's own means."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def is_own(address: Address) -> bool:
    """True where it is one of this machine's: its services may trust whoever comes from here."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def is_allowed(address: Address, private: Sequence[Network]) -> bool:
    """True where it is public, or in a network that a person has opened."""
    if any(address in each for each in private):
        return not any(address in each for each in NEVER)
    return is_public(address) and not is_own(address)


class Guard:
    """Answers where a connection may go. `private`: networks that a person has opened for names."""

    def __init__(self, *, private: Sequence[Network] = (), resolve: Resolve = resolve) -> None:
        self._private = tuple(private)
        self._resolve = resolve

    async def addresses(self, target: Target, network: tuple[str, ...]) -> tuple[str, ...]:
        """Addresses to connect to, all of them safe. `network`: the hosts that are declared.

        Raises Denied where one is not safe or the host is not declared, Exhausted where it has no address now.
        """
        declaration = covering_host(target.declared, network)
        if declaration is None:
            known = ", ".join(network) or "none"
            raise Denied(f"{target.declared!r} is not a declared host (TOOLS.md, network: {known})")
        private = (*self._private, *_named(declaration))
        found = [target.literal] if target.literal else await self._look_up(target)
        addresses = [parse_address(each) for each in found]
        for address in addresses:
            if address is None or not is_allowed(address, private):
                raise Denied(
                    f"{target.host} leads to an address that is not public",
                    cure="A person can open it: with its port in TOOLS.md, network, or as a network in [web] private.",
                )
        return tuple(str(each) for each in addresses)

    async def _look_up(self, target: Target) -> Sequence[str]:
        try:
            async with asyncio.timeout(LOOKUP_S):
                found = await self._resolve(target.host, target.port)
        except TimeoutError:
            raise Exhausted(f"No name server knew {target.host} within {LOOKUP_S:g} s") from None
        except (OSError, UnicodeError) as error:
            raise Exhausted(f"{target.host} has no address: {error}") from error
        if not 0 < len(found) <= ADDRESSES_MAX:
            raise Denied(f"{target.host} has {len(found)} addresses")
        return found


def _named(declaration: str) -> tuple[Network, ...]:
    """The private addresses that a declaration opens by itself: those it writes out, with their port."""
    host, _, port = declaration.partition(":")
    if not port:
        return ()
    if host.lower() == LOCAL_NAME:
        return _LOCAL
    address = parse_address(host)
    return (ipaddress.ip_network(f"{address}/{address.max_prefixlen}"),) if address else ()
