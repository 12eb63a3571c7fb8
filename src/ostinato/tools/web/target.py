"""An address of the web as an agent writes it, read once: what is judged by this reading is what is connected to.

Strict on purpose. Whatever two readers could take for two different hosts is refused: other spellings of numbers
(`127.1`, `0x7f.1`, `2130706433`), user names, backslashes, percent signs and letters beyond ASCII in a host, IPv6
literals. Pure: knows nothing of name servers, addresses that are safe, or connections.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, urljoin

from ostinato.domain.errors import Invalid
from ostinato.domain.values import Value

URL_CHARS_MAX = 8_192
"""Characters of one address; servers seldom take more."""

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?:#.*)?", re.DOTALL)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY = re.compile(rf"(?P<host>{_LABEL}(?:\.{_LABEL})*)\.?(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_SAFE = "/?:@!$&'()*+,;=-._~%[]|"


class Target(Value):
    """Where a request goes."""

    scheme: str
    host: str
    """A name in small ASCII letters without a final dot, or an IPv4 address in its usual form."""
    port: int
    path: str = "/"
    """Path and query, percent-encoded."""

    @property
    def declared(self) -> str:
        """What declarations in TOOLS.md are held against."""
        return f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the scheme's own."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must be equal for two addresses to be of the same origin."""
        return self.scheme, self.host, self.port

    @property
    def url(self) -> str:
        """The whole of it, in one spelling."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def literal(self) -> str | None:
        """The address where the host is one, and not a name."""
        return self.host if self.host.rpartition(".")[2].isdecimal() else None


def parse_target(url: str) -> Target:
    """Reads an address. Raises Invalid with what is wrong about it."""
    if len(url) > URL_CHARS_MAX:
        raise Invalid(f"The address is longer than {URL_CHARS_MAX} characters", cure="Shorten it.")
    if any(ord(each) < 33 or ord(each) == 127 or each == "\\" for each in url):
        raise _wrong(url, "holds a space, a control character or a backslash", "Percent-encode them.")
    found = _URL.fullmatch(url)
    if found is None or found["scheme"].lower() not in _PORTS:
        raise _wrong(url, "is no address of http or https", "Write it as https://host/path.")
    scheme = found["scheme"].lower()
    host, port = parse_authority(found["authority"], port=_PORTS[scheme])
    rest = found["rest"]
    path = quote(rest if rest.startswith("/") else f"/{rest}", safe=_SAFE)
    return Target(scheme=scheme, host=host, port=port, path=path)


def parse_authority(text: str, *, port: int | None = None) -> tuple[str, int]:
    """Host and port of `host:port`. `port`: where none is given; None: it must be. Raises Invalid."""
    if "@" in text:
        raise _wrong(
            text, "names a user", "Leave out what stands before the @; secrets go in by TOOLS.md, credentials."
        )
    if text.startswith("["):
        raise _wrong(text, "is an IPv6 address", "Use the host's name.")
    found = _AUTHORITY.fullmatch(text)
    if found is None or len(found["host"]) > 253:
        raise _wrong(
            text, "is no host name", "Use ASCII letters, digits, '-' and '.'; other scripts in their xn-- form."
        )
    host = found["host"].lower()
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and not _is_plain_address(host):
        raise _wrong(text, "is a number, and not an address in its usual form", "Write it as 192.0.2.1.")
    number = int(found["port"]) if found["port"] else port
    if number is None or not 0 < number < 65_536:
        raise _wrong(text, "has no usable port", "Ports are 1 to 65535.")
    return host, number


def following(target: Target, location: str) -> Target:
    """Where a redirect leads. Raises Invalid."""
    return parse_target(urljoin(target.url, location))


def declared_hosts(url: str) -> tuple[str, ...]:
    """The host that a call to this address reaches, for the gate; what cannot be read is denied there."""
    try:
        return (parse_target(url).declared,)
    except Invalid:
        return (f"unreadable: {url[:200]}",)


def _is_plain_address(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def _wrong(text: str, what: str, cure: str) -> Invalid:
    shown = "".join(each if each.isprintable() else "?" for each in text[:120])
    return Invalid(f"{shown!r} {what}", cure=cure)
