"""`[web]` in ostinato.toml, and `credentials` in TOOLS.md where they are right."""

from __future__ import annotations

import pytest

from ostinato.domain.errors import Invalid
from ostinato.workspace.fields import Fields
from ostinato.workspace.front_matter import Node
from ostinato.workspace.toml_nodes import parse_toml
from ostinato.workspace.tools_file import parse_tools_settings
from ostinato.workspace.web_table import WEB_KEYS, WebEntry, parse_web


def web(text: str) -> WebEntry:
    return parse_web(Fields(parse_toml(text, place="ostinato.toml"), file="ostinato.toml", known=WEB_KEYS))


def test_nothing_is_open_and_nobody_searches_unless_it_is_said() -> None:
    assert web("") == WebEntry()
    found = web('private = ["10.1.0.0/16"]\nsearch = "brave"\nsearch_key_env = "BRAVE_KEY"')
    assert found == WebEntry(private=("10.1.0.0/16",), search="brave", search_key_env="BRAVE_KEY")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('private = ["10.1.0.1/16"]', "is no network"),
        ('private = ["0.0.0.0/0"]', "half the world"),
        ('private = ["169.254.0.0/16"]', "cannot be opened"),
        ('private = ["169.254.169.254/32"]', "cannot be opened"),
        ('private = ["168.63.129.16/32"]', "cannot be opened"),
        ('private = ["fe80::/64"]', "cannot be opened"),
        ('search = "altavista"', "altavista"),
        ('search = "searxng"', "not told where"),
        ('search = "brave"', "wants a key"),
        ('search_url = "file:///x"', "is no address"),
    ],
)
def test_a_mistake_is_named(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        web(text)


def test_credentials_name_a_host_a_header_and_a_declared_secret() -> None:
    headers = Node(value={"Authorization": Node(value="Bearer ${{ secrets.KEY }}", line=3)}, line=3)
    node = Node(
        value={
            "secrets": Node(value=[Node(value="KEY", line=1)], line=1),
            "credentials": Node(value={"api.example.com:8443": headers}, line=2),
        },
        line=1,
    )
    settings, _ = parse_tools_settings(node, file="TOOLS.md")
    assert settings.credentials == {"api.example.com:8443": {"Authorization": "Bearer ${{ secrets.KEY }}"}}
