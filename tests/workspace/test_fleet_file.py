"""ostinato.toml: every key, its default, and what a mistake in it is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.budget import Price
from ostinato.domain.errors import Invalid, NotFound
from ostinato.domain.policy import CallFacts, judge
from ostinato.domain.step import Decision, Effect
from ostinato.domain.values import Limits
from ostinato.models.settings import TIERS as MODEL_TIERS
from ostinato.models.settings import ModelSettings, Timeouts
from ostinato.store.port import Retention
from ostinato.workspace.agent import FleetDefaults, make_agent
from ostinato.workspace.file_text import text_of
from ostinato.workspace.fleet_file import (
    FLEET_FILE_KEYS,
    FleetSettings,
    ModelEntry,
    find_fleet,
    parse_fleet,
    read_fleet,
)
from ostinato.workspace.tiers_table import TIERS

WHOLE = """\
[fleet]
name = "support"
description = "Answers mail."
timezone = "Europe/Zurich"
model = "standard"

[models.demo]
provider = "scripted"
script = "models/demo.yaml"

[models."gpt-5-mini"]
provider = "openai"
model = "gpt-5-mini"
base_url = "https://example.com/v1"
api_key_env = "OPENAI_API_KEY"
context_tokens = 400_000
output_tokens_max = "16k"
price = { input = 0.25, cached = 0.025, output = 2 }
temperature = 0.2
effort = "low"
stream = false
fallback = "demo"
thinking = 2048
dialect = "openai"
timeouts = { connect = "5s", total = "5m" }

[tiers]
cheap = "demo"
standard = ["gpt-5-mini", "cheap"]
escalate = false

[[tiers.rules]]
when = "task.type == 'legal' || trust == 'external'"
tier = "standard"
effort = "high"

[limits]
steps = 20
usd = 0.5
per_day = { usd = 20 }

[server]
port = 8420
host = "0.0.0.0"

[retention]
tasks = "30d"
events = "forever"

[store]
kind = "sqlite"

[engine]
tasks = 8

[inbox]
agent = "triage"
settle = "2s"
"""


def fleet_of(text: str) -> FleetSettings:
    """The settings in a text."""
    return parse_fleet(text_of(text.encode(), name="ostinato.toml", place="ostinato.toml"), name="folder")


def test_every_key_means_what_the_reference_says() -> None:
    fleet = fleet_of(WHOLE)
    assert (fleet.name, fleet.timezone, fleet.model) == ("support", "Europe/Zurich", "standard")
    assert fleet.models["demo"] == ModelEntry(provider="scripted", model="scripted", script="models/demo.yaml")
    assert fleet.models["gpt-5-mini"] == ModelEntry(
        provider="openai",
        model="gpt-5-mini",
        base_url="https://example.com/v1",
        api_key_env="OPENAI_API_KEY",
        context_tokens=400_000,
        output_tokens_max=16_000,
        price=Price(input_usd_micros=250_000, cached_usd_micros=25_000, output_usd_micros=2_000_000),
        temperature=0.2,
        effort="low",
        stream=False,
        fallback=("demo",),
        thinking="2048",
        dialect="openai",
        timeouts={"connect_s": 5.0, "total_s": 300.0},
    )
    assert fleet.tiers == {"cheap": ("demo",), "standard": ("gpt-5-mini", "cheap")}
    (rule,) = fleet.model_rules
    assert (rule.tier, rule.effort, rule.place) == ("standard", "high", "ostinato.toml:33, key 'tiers.rules[1].when'")
    assert not fleet.escalates
    assert fleet.limits == Limits(steps=20, usd_micros=500_000)
    assert fleet.per_day_usd_micros == 20_000_000
    assert (fleet.port, fleet.host) == (8420, "0.0.0.0")
    assert fleet.retention == Retention(tasks_s=30 * 86_400.0, events_s=None)
    assert (fleet.tasks_max, fleet.inbox.agent, fleet.inbox.settle_s) == (8, "triage", 2.0)
    assert fleet.defaults.limits.per_day_usd_micros is None


def test_an_empty_file_is_a_fleet_with_safe_defaults() -> None:
    fleet = fleet_of("")
    assert (fleet.name, fleet.timezone, fleet.model, fleet.port) == ("folder", "UTC", None, None)
    assert (fleet.limits, fleet.retention) == (Limits(), Retention())


def test_a_model_entry_has_the_fields_of_the_models_own_settings() -> None:
    assert ModelEntry.__struct_fields__ == ModelSettings.__struct_fields__
    keys = FLEET_FILE_KEYS["models.<name>"]
    assert keys == ModelSettings.__struct_fields__
    assert tuple(f"{key}_s" for key in FLEET_FILE_KEYS["models.<name>.timeouts"]) == Timeouts.__struct_fields__
    assert TIERS == MODEL_TIERS


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("", "a"),
        ('[tiers]\ncheap = "b"', "cheap"),
        ('[tiers]\ncheap = "b"\nstandard = "a"', "standard"),
        ('[fleet]\nmodel = "b"\n[tiers]\nstandard = "a"', "b"),
    ],
)
def test_the_default_model_is_asked_for_or_standard_or_the_first(text: str, model: str) -> None:
    entries = '\n[models.a]\nprovider = "x"\nmodel = "x"\n[models.b]\nprovider = "x"\nmodel = "x"\n'
    assert fleet_of(text + entries).model == model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[fleet]\nnme = "x"', "ostinato.toml:2, key 'fleet.nme': Unknown key 'nme'"),
        ("[flet]\n", "ostinato.toml:1, key 'flet': Unknown key 'flet'. Known:"),
        ("[fleet]\nname = a\n", "ostinato.toml:2: This is not TOML"),
        ("a = 1\na = 2", "ostinato.toml:2: This is not TOML"),
        ("fleet = 3", "key 'fleet': 3 has no keys of its own"),
        ('[fleet]\ntimezone = "Europe/Zurick"', "Did you mean 'Europe/Zurich'?"),
        ('[fleet]\nmodel = "x"', "key 'fleet.model': Unknown model 'x'"),
        ("[models.a]\nmodel = 'x'", "does not say who provides it"),
        ("[models.a]\nprovider = 'openai'", "ostinato.toml:1, key 'models.a.model'"),
        ("[models.a]\nprovider = 'scripted'", "A scripted model needs a script"),
        ("[models.'a b']\nprovider = 'x'", "cannot be the name of a model"),
        ("[models.a]\nprovider='x'\nmodel='x'\napi_key_env='sk 1'", "Put the key into the environment"),
        ("[models.a]\nprovider='x'\nmodel='x'\nbase_url='x'", "ostinato.toml:4, key 'models.a.base_url'"),
        ("[models.a]\nprovider='x'\nmodel='x'\nprice={input=1}", "A price needs 'input' and 'output'"),
        ("[models.a]\nprovider='x'\nmodel='x'\ntimeouts={totl='1s'}", "Did you mean 'total'?"),
        ("[models.a]\nprovider='x'\nmodel='x'\ntemperature=9", "It can be 0 to 2."),
        ("[tiers]\ncheap = 'x'", "key 'tiers.cheap': Unknown model 'x'"),
        ("[tiers]\nbest = 'x'", "Known: 'cheap', 'escalate', 'rules', 'standard', 'strong'"),
        ("[tiers]\ncheap = []", "key 'tiers.cheap': The tier has no model"),
        ("[tiers]\ncheap = ['strong']", "key 'tiers.cheap': Unknown model 'strong'. Known: 'cheap'."),
        ("[tiers]\ncheap = 'cheap'", "ostinato.toml:2, key 'tiers.cheap': The tier leads to no model"),
        ("[tiers]\ncheap = 'strong'\nstrong = ['strong', 'cheap']", "key 'tiers.cheap': The tier leads to no model"),
        ("[models.strong]\nprovider='x'\nmodel='x'\n[tiers]\nstrong = 'strong'", "a model and a tier"),
        ("[tiers.rules]\nwhen = 'true'", "key 'tiers.rules': A group of keys is not a list. Write [[tiers.rules]]"),
        ("[[tiers.rules]]\ntier = 'strong'", "does not say when it holds"),
        ("[[tiers.rules]]\nwhen = 'true'\ntier = 'strong'", "key 'tiers.rules[1].tier': Unknown tier 'strong'"),
        ("[[tiers.rules]]\n\nwhen = 'task.typ == 1'", "ostinato.toml:3, key 'tiers.rules[1].when'"),
        ("[models.a]\nprovider='x'\nmodel='x'\nfallback='b'", "key 'models.a.fallback': Unknown model 'b'"),
        ("[models.a]\nprovider='x'\nmodel='x'\nthinking='deep'", "key 'models.a.thinking'"),
        ("[models.a]\nprovider='x'\nmodel='x'\nthinking=5", "It can be 1024 to"),
        ("[models.a]\nprovider='x'\nmodel='x'\nthinking=8192", "ostinato.toml:4, key 'models.a.thinking': 8192 tokens"),
        ("[models.a]\nprovider='x'\nmodel='x'\ndialect='latin'", "Known: 'anthropic', 'openai'"),
        ("[limits]\n\nper_day = {us = 3}", "ostinato.toml:3, key 'limits.per_day.us'"),
        ("[server]\nport = 0", "It can be 1 to 65535."),
        ("[retention]\ntasks = 30", "30 has no unit"),
        ("[retention]\ntasks = '1s'", "too short"),
        ("[store]\nkind = 'oracle'", "Known: 'postgresql', 'sqlite'"),
        ("[store]\nkind = 'postgresql'", "needs the URL"),
        ("[store]\nurl = 'mysql://x/y'", "needs the URL"),
        ("[store]\nurl = 'postgresql://a:secret@h/y'", "carries a password"),
        ("[store]\nurl = 'postgresql://a@h/y'\npassword_env = 'a b'", "environment variable"),
        ("[store]\nlease = '3s'", "SQLite has none"),
        ("[inbox]\nagent = 'No Name'", "cannot be the name of an agent"),
        ("x = " + "[" * 5_000, "ostinato.toml:1"),
        ("x = " + "9" * 6_000, "ostinato.toml:1"),
        ("x = [" + "1," * 6_000 + "]", "Too many values"),
        ("# " + "x" * 300_000, "Over 262144 characters"),
    ],
)
def test_a_mistake_is_answered_with_line_key_and_cure(text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        fleet_of(text)
    assert message in str(caught.value)
    assert caught.value.place.startswith("ostinato.toml")


def test_the_fleet_is_found_from_any_folder_below_it(tmp_path: Path) -> None:
    (tmp_path / "ostinato.toml").write_text(WHOLE)
    below = tmp_path / "agents" / "triage"
    below.mkdir(parents=True)
    assert find_fleet(below) == tmp_path
    assert read_fleet(find_fleet(below)).name == "support"


def test_where_there_is_no_fleet_the_next_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        find_fleet(tmp_path)
    assert "ostinato init" in caught.value.cure
    for missing in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(NotFound):
            read_fleet(missing)


def test_a_folder_or_a_pipe_instead_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ostinato.toml").mkdir()
    with pytest.raises(Invalid, match="folder"):
        read_fleet(tmp_path)


# --- the policy of the whole fleet ---

POLICY = """
[policy]
deny = ["exec.*"]
network = ["*.example.com"]

[[policy.gates]]
tool = "message.send"
ask = "admin"
"""


def test_the_fleets_policy_binds_every_agent_and_grants_nothing() -> None:
    fleet = parse_fleet(text_of(POLICY.encode(), name="ostinato.toml", place="ostinato.toml"), name="x")
    texts = {
        "AGENTS.md": "---\ngates_off: [irreversible]\n---\n",
        "TOOLS.md": "---\nallow: [exec.run, http.get, message.send]\nnetwork: [a.example.com, b.test]\n"
        "recipients: [operator]\n---\n",
    }
    files = {name: text_of(text.encode(), name=name, place=name) for name, text in texts.items()}
    agent = make_agent("a", files, folder=Path("agents/a"), defaults=fleet.defaults, place="agents/a")

    def verdict(tool: str, **more: Any) -> tuple[Decision, str]:
        found = judge(CallFacts(tool=tool, effect=Effect.IRREVERSIBLE, **more), agent.policy)
        return found.decision, found.rule

    assert verdict("exec.run") == (Decision.DENY, "ostinato.toml:3")
    assert verdict("http.get", hosts=("a.example.com",)) == (Decision.ALLOW, "agents/a/TOOLS.md:2")
    assert verdict("http.get", hosts=("b.test",)) == (Decision.DENY, "ostinato.toml:4")
    assert verdict("message.send", recipient="operator") == (Decision.ASK, "ostinato.toml:6")
    assert verdict("files.read")[0] is Decision.DENY

    plain = make_agent("a", files, folder=Path("agents/a"), defaults=FleetDefaults(), place="agents/a")
    assert agent.version != plain.version, "a turn in flight is judged by the stricter of both"
    assert agent.prompt_version != plain.prompt_version, "its model is shown fewer tools"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[policy]\ndeny = ["rm -rf"]', "is not understood here"),
        ('[policy]\nallow = ["x"]', "Unknown key 'allow'"),
        ("[[policy.gates]]\nask = 'ann'", "does not say what it asks about"),
        ('[policy]\nrecipients = ["x y"]', "is not a recipient"),
    ],
)
def test_a_policy_that_is_wrong_says_where(table: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as raised:
        parse_fleet(text_of(table.encode(), name="ostinato.toml", place="ostinato.toml"), name="x")
    assert "ostinato.toml" in raised.value.place
