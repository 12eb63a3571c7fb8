"""Addresses that lead inside, by technique: each with the inner address that a careless client would connect to.

`{port}` is filled in by whoever uses one. Names end in `.test` and mean what `NAMES` says.
"""

from __future__ import annotations

import ipaddress

LOOPBACK = "127.0.0.1"
METADATA = "169.254.169.254"

NAMES: dict[str, tuple[str, ...]] = {
    "local.test": ("127.0.0.1",),
    "metadata.test": ("169.254.169.254",),
    "ten.test": ("10.0.0.5",),
    "home.test": ("192.168.1.1",),
    "docker.test": ("172.17.0.1",),
    "carrier.test": ("100.64.0.1",),
    "alibaba.test": ("100.100.100.200",),
    "azure.test": ("168.63.129.16",),
    "oracle.test": ("192.0.0.192",),
    "zero.test": ("0.0.0.0",),
    "broadcast.test": ("255.255.255.255",),
    "multicast.test": ("224.0.0.1",),
    "future.test": ("240.0.0.1",),
    "benchmark.test": ("198.18.0.1",),
    "documented.test": ("192.0.2.1",),
    "six.test": ("::1",),
    "unspecified.test": ("::",),
    "mapped.test": ("::ffff:127.0.0.1",),
    "mapped-metadata.test": ("::ffff:169.254.169.254",),
    "compatible.test": ("::127.0.0.1",),
    "nat64.test": ("64:ff9b::7f00:1",),
    "nat64-metadata.test": ("64:ff9b::a9fe:a9fe",),
    "nat64-local.test": ("64:ff9b:1::7f00:1",),
    "sixtofour.test": ("2002:7f00:1::",),
    "sixtofour-metadata.test": ("2002:a9fe:a9fe::1",),
    "teredo.test": ("2001:0:7f00:1::",),
    "unique.test": ("fd00:ec2::254",),
    "link.test": ("fe80::1",),
    "link-zone.test": ("fe80::1%1",),
    "site.test": ("fec0::1",),
    "isatap.test": ("fe80::5efe:7f00:1",),
    "multicast-six.test": ("ff02::1",),
    "documented-six.test": ("2001:db8::1",),
    "discard.test": ("100::1",),
    "translated.test": ("::ffff:0:7f00:1",),
    "mixed.test": ("93.184.216.34", "127.0.0.1"),
    "mixed-six.test": ("2606:2800:220:1:248:1893:25c8:1946", "::1"),
    "mixed-first.test": ("10.0.0.5", "93.184.216.34"),
}
"""Name -> what the name server says."""

INNER = ("127.0.0.1", "169.254.169.254", "10.0.0.5", "192.168.1.1", "172.16.0.1")


def spellings(address: str) -> dict[str, list[str]]:
    """An IPv4 address as a C library reads it, by technique."""
    a, b, c, d = (int(each) for each in address.split("."))
    whole = int(ipaddress.IPv4Address(address))
    wide = str.maketrans("0123456789.", "０１２３４５６７８９．")  # full width, which NFKC makes plain
    ideographic, circled = address.replace(".", "。"), "".join(_circled(each) for each in address)
    return {
        "fewer parts": [f"{a}.{b}.{c * 256 + d}", f"{a}.{b * 65536 + c * 256 + d}", f"{a}.{b}.{c * 256 + d}."],
        "one number": [str(whole), hex(whole), f"0{whole:o}", f"0x{whole:08X}"],
        "hexadecimal": [f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"0x{a:x}.{b}.{c}.{d}", f"{a}.{b}.{c}.0x{d:02x}"],
        "octal": [f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"0{a:o}.{b}.{c}.{d}", f"000{a:o}.0{b:o}.{c}.{d}"],
        "plain": [address, f"{address}."],
        "other digits": [address.translate(wide), ideographic, circled],
    }


def _circled(each: str) -> str:
    return "⓪①②③④⑤⑥⑦⑧⑨"[int(each)] if each.isdigit() else each


def corpus() -> list[tuple[str, str, str]]:
    """Technique, address of the web, and where it leads."""
    found = [
        (technique, f"http://{host}:{{port}}/", address)
        for address in INNER
        for technique, hosts in spellings(address).items()
        for host in hosts
    ]
    found += [("a name", f"http://{name}:{{port}}/", answers[0]) for name, answers in NAMES.items()]
    found += [
        ("a name in disguise", f"http://{host}:{{port}}/", LOOPBACK)
        for host in (
            "LOCAL.TEST",
            "local.test.",
            "lOcAl.TeSt",
            "ｌｏｃａｌ.test",
            "local。test",
            "localhost",
            "LOCALHOST.",
        )
    ]
    found += [
        ("IPv6", f"http://[{each}]:{{port}}/", each)
        for each in (
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "0:0:0:0:0:0:0:1",
            "::",
            "fe80::1%25lo",
            "64:ff9b::7f00:1",
        )
    ]
    found += [
        ("a user", each, LOOPBACK)
        for each in (
            "http://example.com@127.0.0.1:{port}/",
            "http://example.com:80@127.0.0.1:{port}/",
            "http://example.com%40127.0.0.1@127.0.0.1:{port}/",
            "http://a:b@local.test:{port}/",
            "http://@local.test:{port}/",
        )
    ]
    found += [
        ("two readers", each, LOOPBACK)
        for each in (
            "http://127.0.0.1:{port}\\@example.com/",
            "http:\\\\127.0.0.1:{port}/",
            "http://127.0.0.1:{port}#@example.com/",
            "http://127.0.0.1:{port}?@example.com/",
            "http://local.test:{port}\t/",
            " http://local.test:{port}/",
            "http://%6c%6f%63%61%6c.test:{port}/",
            "http://127%2e0.0.1:{port}/",
        )
    ]
    return found


SCHEMES = (
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:25/_x",
    "dict://127.0.0.1:11211/",
    "ftp://127.0.0.1/",
    "ldap://127.0.0.1/",
    "data:text/plain,x",
    "jar:http://127.0.0.1!/",
    "tftp://127.0.0.1/x",
    "unix:///run/docker.sock",
    "ws://127.0.0.1/",
    "javascript:alert(1)",
    "//127.0.0.1/",
    "http+unix://%2Frun%2Fdocker.sock/",
    "netdoc:///etc/passwd",
)
"""Other ways than http and https."""
