"""Which declaration covers which host. Knows nothing of verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.host import matches_host

DECLARED = ("api.example.com", "*.example.org", "files.example.net:8443")


@pytest.mark.parametrize(
    "host",
    ["api.example.com", "API.Example.COM", "api.example.com.", "api.example.com:443", "api.example.com:80",
     "a.example.org", "a.b.example.org:443", "files.example.net:8443"],
)  # fmt: skip
def test_a_declared_host_is_covered(host: str) -> None:
    assert matches_host(host, DECLARED)


@pytest.mark.parametrize(
    "host",
    ["example.com", "xapi.example.com", "api.example.com.evil.test", "api.example.com:8080", "example.org",
     ".example.org", "aexample.org", "files.example.net", "files.example.net:443", "", "*.example.org", "*",
     "api.example.com@evil.test", "api.example.com/", "api.example.com\n", "[::1]", "api.example.com:443:1",
     "api.example.com..", "api.example.com:99999", "x" * 64 + ".example.org", "a." * 130 + "example.org",
     "api.example.com:\u0664\u0664\u0663", "\u0430pi.example.com"],
)  # fmt: skip
def test_no_other_host_is_covered(host: str) -> None:
    assert not matches_host(host, DECLARED)


@given(st.text(max_size=40))
def test_nothing_is_covered_where_nothing_is_declared(host: str) -> None:
    assert not matches_host(host, ())


@given(st.text(alphabet="abc.-:*@/ 0123456789", max_size=30))
def test_a_wildcard_covers_only_names_below_its_own(host: str) -> None:
    if matches_host(host, ("*.example.org",)):
        assert host.partition(":")[0].rstrip(".").endswith(".example.org")
