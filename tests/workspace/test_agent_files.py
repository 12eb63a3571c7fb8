"""What the files of an agent mean: every key, its default, and what a mistake in it is answered with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ostinato.domain.errors import Invalid
from ostinato.domain.policy import CallFacts, judge
from ostinato.domain.schedule import Misfire, Window
from ostinato.domain.step import Decision, Effect
from ostinato.domain.values import Limits
from ostinato.workspace.agent import AgentDefinition, FleetDefaults, make_agent
from ostinato.workspace.file_text import text_of

AGENTS = """\
---
description: Sorts the mail.
skills: [triage, billing]
model: cheap            # tier or name
effort: low
timezone: Europe/Zurich
accepts: ticket@1       # contracts
produces: {name: triage_result, version: 1, schema: {type: object, required: [kind]}}
delegates: [billing, research]
concurrency: 2
limits: {steps: 30, tokens: 100k, usd: 0.50, wall: 20m, identical: 4, per_day: {usd: 5}}
gates:
  - {tool: message.send, when: "args.to != 'operator'", ask: operator, expires: 24h}
  - {effect: irreversible, ask: operator}
stop: "ostinato agents kill billing; revoke BILLING_API_KEY; owner: ops@example.com"
---
# How you work
"""
TOOLS = """\
---
allow: [files.read, files.write, tasks.create, http.get, message.send]
files: {read: ["."], write: ["notes/", "out/"]}
exec: {commands: [git, pytest], timeout: 10m, network: false}
network: [api.example.com]
recipients: ["operator", "slack:#updates", "mail:*@example.com"]
secrets: [BILLING_API_KEY]
mcp: {github: [list_issues, get_issue]}
---
Use them well.
"""
HEARTBEAT = """\
---
every: 15m              # or cron: "0 7 * * MON-FRI"
active: "07:00-20:00"
timezone: Europe/Zurich
check: {when: "inbox.files > 0 || tasks.pending > 0 || tasks.stalled > 0"}
model: cheap
session: main           # or isolated
---
Look into the inbox.
"""


def agent_of(texts: dict[str, str], *, defaults: FleetDefaults | None = None) -> AgentDefinition:
    """The agent that these texts make."""
    files = {name: text_of(text.encode(), name=name, place=name) for name, text in texts.items()}
    return make_agent(
        "triage", files, folder=Path("agents/triage"), defaults=defaults or FleetDefaults(), place="agents/triage"
    )


def test_the_files_of_the_design_mean_what_it_says() -> None:
    agent = agent_of({"AGENTS.md": AGENTS, "TOOLS.md": TOOLS, "HEARTBEAT.md": HEARTBEAT, "SOUL.md": "# Triage"})
    assert agent.skills == ("triage", "billing")
    assert (agent.model, agent.effort, agent.timezone, agent.concurrency) == ("cheap", "low", "Europe/Zurich", 2)
    assert [(each.name, each.version) for each in agent.accepts] == [("ticket", 1)]
    assert agent.produces is not None
    assert (agent.produces.name, agent.produces.version) == ("triage_result", 1)
    assert agent.produces.schema == {"type": "object", "required": ["kind"]}
    assert agent.delegates == ("billing", "research")
    assert agent.limits == Limits(
        steps=30, tokens=100_000, usd_micros=500_000, wall_s=1_200, identical=4, per_day_usd_micros=5_000_000
    )
    assert "revoke BILLING_API_KEY" in agent.stop
    assert agent.policy.tools == (
        *("files.read", "files.write", "tasks.create", "http.get", "message.send"),
        *("mcp.github.list_issues", "mcp.github.get_issue"),
    )
    assert agent.policy.recipients == ("operator", "slack:#updates", "mail:*@example.com")
    assert (agent.files_read, agent.files_write) == ((".",), ("notes/", "out/"))
    assert agent.tools.exec is not None
    assert (agent.tools.exec.commands, agent.tools.exec.timeout_s, agent.tools.exec.network) == (
        ("git", "pytest"),
        600.0,
        (),
    )
    assert agent.tools.network == ("api.example.com",)
    assert agent.tools.secrets == ("BILLING_API_KEY",)
    assert agent.tools.mcp == {"github": ("list_issues", "get_issue")}
    assert agent.findings == ()


def test_the_heartbeat_of_the_design_means_what_it_says() -> None:
    (heartbeat,) = agent_of({"HEARTBEAT.md": HEARTBEAT}).heartbeats
    assert (heartbeat.name, heartbeat.rule.every_s, heartbeat.rule.timezone) == ("heartbeat", 900, "Europe/Zurich")
    assert heartbeat.rule.active == (Window(start=420, end=1_200),)
    assert heartbeat.check is not None
    assert heartbeat.check({"inbox": {"files": 0}, "tasks": {"pending": 1, "stalled": 0}})
    assert (heartbeat.model, heartbeat.session, heartbeat.text) == ("cheap", "main", "Look into the inbox.")
    row = heartbeat.schedule_row("triage")
    assert (row.name, row.rule["every"], row.source) == ("heartbeat:triage:heartbeat", "15m", "file")


def test_a_gate_of_the_file_holds_where_its_condition_does_or_cannot_be_answered() -> None:
    policy = agent_of({"AGENTS.md": AGENTS, "TOOLS.md": TOOLS}).policy

    def decision(arguments: dict[str, str]) -> tuple[Decision, str]:
        facts = CallFacts(tool="message.send", effect=Effect.IDEMPOTENT, arguments=arguments, recipient="operator")
        verdict = judge(facts, policy)
        return verdict.decision, verdict.rule

    assert decision({"to": "operator"}) == (Decision.ALLOW, "agents/triage/TOOLS.md:2")
    assert decision({"to": "mail:x@example.com"}) == (Decision.ASK, "agents/triage/AGENTS.md:13")
    assert decision({}) == (Decision.ASK, "agents/triage/AGENTS.md:13")


def test_irreversible_effects_ask_unless_a_person_switched_that_off_by_name() -> None:
    def decision(front: str) -> Decision:
        agent = agent_of({"AGENTS.md": f"---\n{front}\n---\n", "TOOLS.md": "---\nallow: [mail.send]\n---\n"})
        return judge(CallFacts(tool="mail.send", effect=Effect.IRREVERSIBLE), agent.policy).decision

    assert decision("model: cheap") is Decision.ASK
    assert decision("gates: [{tool: other}]") is Decision.ASK
    assert decision("gates_off: [irreversible]") is Decision.ALLOW


def test_a_gate_says_whom_it_asks_and_whom_else_and_when() -> None:
    gates = "gates: [{tool: x, ask: ann, expires: 2d, remind: 4h, escalate: {to: admin, after: 8h}}]"
    (gate, *_) = agent_of({"AGENTS.md": f"---\n{gates}\n---\n"}).policy.gates
    assert (gate.ask, gate.expires_s, gate.remind_s) == ("ann", 172_800, 14_400)
    assert (gate.escalate, gate.escalate_s) == ("admin", 28_800)


def test_a_verdict_names_the_line_of_the_entry_that_it_rests_on() -> None:
    tools = "---\nallow:\n  - files.read\n  - memory.*\ndeny:\n  - memory.curate\n---\n"
    policy = agent_of({"TOOLS.md": tools}).policy

    def rule(tool: str) -> str:
        return judge(CallFacts(tool=tool, effect=Effect.READ), policy).rule

    assert rule("files.read") == "agents/triage/TOOLS.md:3"
    assert rule("memory.note") == "agents/triage/TOOLS.md:4"
    assert rule("memory.curate") == "agents/triage/TOOLS.md:6"
    assert rule("http.get") == "agents/triage/TOOLS.md:2"


def test_a_folder_of_plain_prose_has_safe_defaults_no_tools_and_never_fires() -> None:
    names = ("SOUL.md", "AGENTS.md", "USER.md", "IDENTITY.md", "TOOLS.md", "HEARTBEAT.md", "MEMORY.md")
    agent = agent_of({name: f"# {name}\n\nJust words: about `everything`.\n" for name in names})
    assert agent.policy.tools == ()
    assert agent.heartbeats == ()
    assert (agent.limits, agent.concurrency, agent.delegates, agent.model) == (Limits(), 1, None, None)
    assert tuple(agent.prompt_files) == ("SOUL.md", "AGENTS.md", "TOOLS.md", "USER.md", "IDENTITY.md", "MEMORY.md")
    assert agent.description == "SOUL.md"


def test_the_prompt_shows_prose_alone() -> None:
    agent = agent_of({"AGENTS.md": AGENTS, "TOOLS.md": TOOLS, "SOUL.md": "  \n", "MEMORY.md": "\n---\n\nA line.\n"})
    assert dict(agent.prompt_files) == {
        "AGENTS.md": "# How you work",
        "TOOLS.md": "Use them well.",
        "MEMORY.md": "---\n\nA line.",
    }


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nA line across the page, and words.\n",
        "---\nWords, and a second line.\n\n---\n\nMore words.\n",
        "---\nFirst, do no harm.\nSecond: tell.\nThird, stop.\n---\n",
        "----\nmodel: cheap\n----\n",
        "- a\n- b\n---\nmodel: x\n",
        "# Title\n---\nallow: [files.read]\n---\n",
        "+++\nmodel = 'x'\n+++\n",
    ],
)
def test_a_line_across_the_page_does_not_make_settings(text: str) -> None:
    agent = agent_of({"AGENTS.md": text, "TOOLS.md": text})
    assert agent.model is None
    assert agent.policy.tools == ()
    assert agent.prompt_files["AGENTS.md"] == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "---\nallow: [files.read]\n",
        "\n\n---\nalow: [files.read]\n---\n",
        "---\n'allow': [files.read\n---\n",
        "---\n\u202eallow: [files.read]\n---\n",
        "---\nSome words\nallow: [files.read]\n---\n",
        "---\nNote: this is prose, says its author\n---\n",
        "--- \nallow: [files.read]\n---x\n",
    ],
)
def test_what_looks_like_settings_is_never_silently_prose(text: str) -> None:
    with pytest.raises(Invalid, match=r"^agents/triage/TOOLS\.md:[1-9]"):
        raise_with_place(text)


def raise_with_place(text: str) -> None:
    """Load TOOLS.md; an error is raised again with its whole text as the message."""
    try:
        agent_of({"TOOLS.md": text})
    except Invalid as error:
        raise Invalid(str(error)) from None


@pytest.mark.parametrize(
    ("name", "front", "message"),
    [
        ("AGENTS.md", "skils: [a]", "AGENTS.md:2, key 'skils': Unknown key 'skils'"),
        ("AGENTS.md", "model: 5", "AGENTS.md:2, key 'model': 5 is not a text. Put it in quotes."),
        ("AGENTS.md", "a: 1\nmodel: x", "AGENTS.md:2, key 'a': Unknown key"),
        ("AGENTS.md", "model: x\n\nlimits: {step: 4}", "AGENTS.md:4, key 'limits.step': Unknown key 'step'"),
        ("AGENTS.md", "limits: {steps: 0}", "key 'limits.steps': 0 is out of range. It can be 1 to 10000."),
        ("AGENTS.md", "limits: {tokens: lots}", "'lots' is not a whole number. Write it as 200, 200k or 1.5M."),
        ("AGENTS.md", "limits: {usd: -1}", "key 'limits.usd': -1 is out of range"),
        ("AGENTS.md", "limits: {usd: '1'}", "'1' is not a number"),
        ("AGENTS.md", "limits: {wall: 30}", "30 has no unit. Write '30s', '30m' or '30h'."),
        ("AGENTS.md", "limits: {per_day: 5}", "key 'limits.per_day': 5 has no keys of its own. Its keys are: usd"),
        ("AGENTS.md", "skills: [a b]", "'a b' is not a skill"),
        ("AGENTS.md", "skills: [[a]]", "A list is not a text"),
        ("AGENTS.md", "timezone: Mars", "Unknown time zone 'Mars'"),
        ("AGENTS.md", "effort: huge", "Known: 'high', 'low', 'medium'"),
        ("AGENTS.md", "delegates: [Billing!]", "'Billing!' is not a name"),
        ("AGENTS.md", "accepts: ticket", "Write name and version: 'ticket@1'."),
        ("AGENTS.md", "produces: {version: 1}", "is not the name of a contract"),
        ("AGENTS.md", "produces: {name: x, schema: {type: nothing}}", "produces.schema': This is not a JSON Schema"),
        ("AGENTS.md", "produces: {name: x, schema: {$ref: 'http://127.0.0.1:9/'}}", "is another document"),
        ("AGENTS.md", "gates:\n  - {tool: x, wen: y}", "AGENTS.md:3, key 'gates[1].wen'"),
        ("AGENTS.md", "gates:\n  - {tool: x}\n  - {when: 'arg.to'}", "AGENTS.md:4, key 'gates[2].when': Unknown"),
        ("AGENTS.md", "gates: [{ask: operator}]", "does not say what it asks about"),
        ("AGENTS.md", "gates: [{tool: x, ask: 'a b'}]", "'a b' is nobody"),
        ("AGENTS.md", "gates: [{tool: x, escalate: {to: ann}}]", "does not say whom else to ask, and when"),
        ("AGENTS.md", "gates: [{tool: x, escalate: {to: a b, after: 1h}}]", "gates[1].escalate.to': 'a b' is nobody"),
        ("AGENTS.md", "gates: [{tool: x, remind: 5s}]", "'5s' is too short"),
        ("TOOLS.md", "deny: ['rm -rf']", "'rm -rf' is not understood here"),
        ("AGENTS.md", "gates: [{effect: reed}]", "'reversible'. Did you mean 'read'?"),
        ("AGENTS.md", "gates: {tool: x}", "is not a list. Begin each entry with '- '."),
        ("AGENTS.md", "gates_off: [all]", "no default gate 'all'. There are: 'irreversible', 'outward', 'cost'"),
        ("TOOLS.md", "alow: [x]", "Did you mean 'allow'?"),
        ("TOOLS.md", "allow: ['rm -rf']", "'rm -rf' is not understood here"),
        ("TOOLS.md", "files: {write: ['../x']}", "key 'files.write': '../x' leads out of the agent's folder"),
        ("TOOLS.md", "files: {read: ['/etc']}", "leads out of the agent's folder"),
        ("TOOLS.md", "recipients: [everybody]", "'everybody' is not a recipient"),
        ("TOOLS.md", "recipients: ['*']", "'*' is not a recipient"),
        ("TOOLS.md", "secrets: ['sk-1234 5678']", "Name it only; the value stays in the environment."),
        ("TOOLS.md", "credentials: {'http://x/': {A: '${{ secrets.K }}'}}", "is no host"),
        ("TOOLS.md", "credentials: {x.test: {A: '${{ secrets.K }}'}}", "'K' is not among 'secrets'"),
        ("TOOLS.md", "credentials: {x.test: {A: sk-1234567}}", "No secret is named"),
        ("TOOLS.md", "credentials: {x.test: {'A b': '${{ secrets.K }}'}}", "is no header"),
        ("TOOLS.md", "exec: {commands: ['git push']}", "Name programs, such as 'git', without arguments."),
        ("TOOLS.md", "exec: {network: true}", "Commands have no network as such"),
        ("TOOLS.md", "exec: {network: ['http://example.com/']}", "is not understood here"),
        ("TOOLS.md", "exec: {commands: [git], effects: {read: ['git *']}}", "everything that git can start"),
        ("TOOLS.md", "exec: {commands: [git], effects: {read: [ls]}}", "is not among the commands: git"),
        ("TOOLS.md", "exec: {commands: [git], effects: {raed: [git]}}", "Did you mean 'read'?"),
        ("TOOLS.md", "exec: {paths: [tools]}", "'tools' is not such a folder"),
        ("TOOLS.md", "exec: {paths: [/]}", "'/' is not such a folder"),
        ("TOOLS.md", "exec: {silence: 5}", "has no unit"),
        ("TOOLS.md", "network: ['http://x/']", "is not understood here"),
        ("TOOLS.md", "mcp: {github: 5}", "key 'mcp.github': 5 is not a text"),
        ("HEARTBEAT.md", "evry: 15m", "Did you mean 'every'?"),
        ("HEARTBEAT.md", "every: 15", "HEARTBEAT.md:2, key 'every': 15 has no unit"),
        ("HEARTBEAT.md", "every: 15m\ncron: '* * * * *'", "here is 'every' and 'cron'"),
        ("HEARTBEAT.md", "session: main", "here is none of them"),
        ("HEARTBEAT.md", "every: 15m\nsession: other", "Known: 'isolated', 'main'"),
        ("HEARTBEAT.md", "every: 15m\ncheck: {}", "The check has no condition"),
        ("HEARTBEAT.md", "every: 15m\ncheck: inbox.files > 0", "has no keys of its own. Its keys are: when,"),
        ("HEARTBEAT.md", "every: 15m\ncheck: {when: 'inbox.fles > 0'}", "Did you mean 'files'?"),
        ("SOUL.md", "model: x", "Unknown key 'model'"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_file_line_key_and_cure(name: str, front: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        agent_of({name: f"---\n{front}\n---\nProse.\n"})
    assert message in str(caught.value)
    assert re.match(rf"agents/triage/{name}:\d+", caught.value.place)


@pytest.mark.parametrize(
    ("name", "front"),
    [
        ("TOOLS.md", "secrets: [sk-{0}]"),
        ("AGENTS.md", "kind: command\ncommand: {{argv: [a, '{{goal}}'], secrets: [sk-{0}]}}"),
    ],
)
def test_a_secret_in_the_place_of_its_name_is_not_repeated(name: str, front: str) -> None:
    with pytest.raises(Invalid) as caught:
        agent_of({name: f"---\n{front.format('CANARY')}\n---\n"})
    assert "This is not the name of a secret" in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_what_an_agent_does_not_say_the_fleet_says() -> None:
    defaults = FleetDefaults(timezone="Asia/Tokyo", limits=Limits(steps=5, usd_micros=10))
    agent = agent_of(
        {"AGENTS.md": "---\nlimits: {tokens: 5k}\n---\n", "HEARTBEAT.md": "---\nevery: 1h\n---\n"}, defaults=defaults
    )
    assert agent.limits == Limits(steps=5, usd_micros=10, tokens=5_000)
    assert agent.timezone == "Asia/Tokyo"
    assert agent.heartbeats[0].rule.timezone == "Asia/Tokyo"


def test_several_heartbeats_have_the_names_of_their_files() -> None:
    agent = agent_of(
        {
            "HEARTBEAT.md": "---\nevery: 1h\n---\n",
            "heartbeats/daily.md": '---\ncron: "0 7 * * *"\nsession: isolated\nescalate_after: 3\n---\nReport.\n',
            "heartbeats/words.md": "Only words.\n",
        }
    )
    assert [each.name for each in agent.heartbeats] == ["heartbeat", "daily"]
    assert agent.heartbeats[1].rule.misfire is Misfire.ONCE
    assert (agent.heartbeats[1].session, agent.heartbeats[1].escalate_after) == ("isolated", 3)
    with pytest.raises(Invalid, match="is the heartbeat of HEARTBEAT"):
        agent_of({"heartbeats/heartbeat.md": "---\nevery: 1h\n---\n"})
    with pytest.raises(Invalid, match="cannot be the name of a heartbeat"):
        agent_of({"heartbeats/My Beat.md": "---\nevery: 1h\n---\n"})


def test_a_wildcard_for_all_tools_is_told() -> None:
    agent = agent_of({"TOOLS.md": "---\nallow: ['*', 'files.*']\n---\n"})
    assert [each.code for each in agent.findings] == ["wildcard-tools"]


def test_commands_that_are_granted_without_a_name_are_told() -> None:
    assert [each.code for each in agent_of({"TOOLS.md": "---\nallow: [exec.run]\n---\n"}).findings] == ["no-commands"]
    named = "---\nallow: [exec.run]\nexec: {commands: [git]}\n---\n"
    assert agent_of({"TOOLS.md": named}).findings == ()


def test_a_file_that_is_not_utf_8_is_read_and_told() -> None:
    file = text_of("Grüße".encode("latin-1"), name="SOUL.md", place="agents/x/SOUL.md")
    assert file.text == "Grüße"
    assert [(each.code, each.place) for each in file.findings] == [("encoding", "agents/x/SOUL.md")]


def test_equal_texts_make_equal_agents_and_any_change_another_version() -> None:
    texts = {"AGENTS.md": AGENTS, "TOOLS.md": TOOLS, "HEARTBEAT.md": HEARTBEAT, "MEMORY.md": "Nothing."}
    first = agent_of(texts)
    assert agent_of(dict(reversed(texts.items()))).version == first.version
    assert agent_of(texts) == first
    for name in texts:
        other = agent_of({**texts, name: texts[name] + "\nMore.\n"})
        assert other.version != first.version
        assert other.policy.version == other.version
        assert (other.prompt_version == first.prompt_version) == (name == "HEARTBEAT.md")


def test_line_ends_and_a_mark_at_the_beginning_change_nothing() -> None:
    windows = text_of(b"\xef\xbb\xbf" + AGENTS.replace("\n", "\r\n").encode(), name="AGENTS.md", place="")
    assert windows.text == AGENTS
    assert windows.digest == text_of(AGENTS.encode(), name="AGENTS.md", place="").digest
