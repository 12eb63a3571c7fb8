"""The parts of "What an agent can and cannot do" that the code knows: tools, gates, rooms, hosts and limits.

What is a sentence stands at its owner, as the text below a constant or a field; what is a table is one in the code.
Knows nothing of the words around these parts.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

import msgspec

from ostinato.agents import coding, function_model
from ostinato.domain import address, budget, file_rules, message, plan, review, turn
from ostinato.domain.duration import format_duration
from ostinato.domain.file_rules import AUTORUN, HIDDEN, LEASH
from ostinato.domain.gate import DEFAULT_GATES, Gate
from ostinato.domain.policy import CallFacts, Policy, judge
from ostinato.domain.step import EFFECTS, Decision
from ostinato.domain.values import Limits
from ostinato.tools import (
    children,
    commands,
    files,
    mail,
    memory,
    messages,
    plans,
    port,
    proposing,
    router,
    safe_files,
    skills,
    tasks,
    toolbox,
)
from ostinato.tools import review as tools_review
from ostinato.tools.mcp import answers, offers, sdk
from ostinato.tools.port import Tool, nobody, nowhere
from ostinato.tools.processes import handle, handler, process_tools, shim, warden
from ostinato.tools.python import family, worker, workers
from ostinato.tools.sandbox import (
    changes,
    landlock,
    protected,
    resident,
    room,
    spill,
    surroundings,
    syscall_filter,
    tree,
)
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import is_unaddressed
from ostinato.tools.web import client, guard, markdown, proxy, search, target, web_tools
from ostinato.tools.web.way import VARIABLES
from ostinato.workspace.tools_file import GRANTS

BOUNDED: Mapping[str, tuple[ModuleType, ...]] = {
    "a call": (toolbox, port),
    "files and memory": (file_rules, safe_files, files, memory),
    "tasks and messages": (tasks, message, messages, mail),
    "plans": (plan, plans, proposing),
    "reviews": (review, tools_review),
    "sub-agents": (children,),
    "commands": (commands, spill, process_tools, handle, shim),
    "the web": (client, guard, proxy, web_tools, target, markdown, search),
    "Python tools and agents": (family, workers, worker, function_model),
    "coding agents": (coding,),
    "MCP servers": (offers, answers, sdk),
    "skills": (skills,),
    "turns, budgets": (turn, budget),
}
"""Where limits stand that nobody can set: what of -> modules."""

INNER = (router, handler, warden, tree, resident, changes)
"""Modules of the tools whose limits no agent meets: they bound the runtime's own work."""

FAMILIES = {
    "exec.": "a command in its room",
    "processes.": "a process in its room",
    "web.search": "the provider that `[web]` names",
}
"""What tools touch that do not say it of each call: beginning of their names -> what."""

_CONSTANT = re.compile(r'^([A-Z][A-Z_]*)(?:: [^=\n]+)? = .*\n(?:"""([^"]*)""")?', re.MULTILINE)
_LIMIT = re.compile(r"\w+_(MAX|S|AT)(_\w+)?")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(each) + " |" for each in lines)


def field_notes(struct: type) -> dict[str, str]:
    """The text below each field of a struct, as the code has it."""
    found = re.findall(r'^    (\w+): .*\n    """([^"]*)"""', inspect.getsource(struct), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def code(names: Iterable[object]) -> str:
    """Names in one line, each as code."""
    return ", ".join(f"`{each}`" for each in names)


def effects() -> str:
    """What each effect is, and what becomes of a call whose result was lost."""
    return table(("Effect", "Means"), ((f"`{each.value}`", text) for each, text in EFFECTS.items()))


def tools() -> str:
    """Every tool of the runtime with what it reads, and what the gate says once it is granted."""
    rows = ((f"`{each.name}`", _effect(each), _touches(each), _verdict(each)) for each in standard_toolbox())
    return table(("Tool", "Effect", "Touches", "Once granted by its name"), rows)


def _effect(tool: Tool) -> str:
    said = f"`{tool.effect.value}`"
    if tool.report is not None:
        said += ", or by the call"
    return f"{said}, outward" if tool.outward else said


def _touches(tool: Tool) -> str:
    said = []
    if tool.private:
        said.append("reads what may be private")
    if tool.outside_text:
        said.append("brings text from strangers")
    if tool.reads is not nowhere or tool.writes is not nowhere:
        said.append("files of that kind alone" if tool.own_files else "files, by `files`")
    if tool.hosts is not nowhere:
        said.append("hosts, by `network`")
    if tool.recipient is not nobody:
        said.append("people, by `recipients`")
    said += [what for family, what in FAMILIES.items() if tool.name.startswith(family)]
    return "; ".join(said) or "the fleet's own records"


def _verdict(tool: Tool) -> str:
    """What the one gate says of a plain call, with nothing else declared but whom or what the call names."""
    facts = CallFacts(
        tool=tool.name,
        effect=tool.effect,
        outward=tool.outward,
        recipient=None if tool.recipient is nobody else "mail:ann@example.com",
        hosts=() if tool.hosts is nowhere else ("example.com",),
        always_allowed=tool.always_allowed,
    )
    found = judge(facts, Policy(agent="x", tools=(tool.name,), recipients=("*",), network=("example.com",)))
    if tool.always_allowed:
        return "allowed without a grant"
    if found.decision is not Decision.ASK or found.gate is None:
        return found.decision.value
    says = f"ask (`{found.gate.name}`)"
    if tool.report is not None:
        return f"{says}, unless the call's effect is another"
    return says if is_unaddressed(tool) or tool.recipient is nobody else f"{says}, unless it stays in the fleet"


def grants() -> str:
    """Every key of TOOLS.md by what it gives."""
    return table(("In TOOLS.md", "Gives or takes", "Without it"), ((f"`{key}`", *text) for key, text in GRANTS.items()))


def gates() -> str:
    """The gates that every agent has."""
    rows = ((f"`{each.name}`", _asks(each), f"`gates_off: [{each.name}]`") for each in DEFAULT_GATES.values())
    return table(("Gate", "Asks where", "Switched off, for one agent, by"), rows)


def _asks(gate: Gate) -> str:
    said = gate.words("a call" if gate.tool == "*" else f"`{gate.tool}`")
    return f"{said}; {gate.ask}s and those above answer, within {format_duration(gate.expires_s)}"


def never() -> str:
    """Names that no tool and no command ever writes, or sees."""
    sealed = [*protected.FILES, *(f"{each}/" for each in protected.FOLDERS)]
    git = [
        f"{protected.GIT}/{each}" for each in (*protected.GIT_FILES, *protected.GIT_FOLDERS, *protected.GIT_UNWANTED)
    ]
    rows = (
        ("no tool writes, in any spelling", code(sorted(LEASH))),
        ("no tool reads, writes or lists", code(sorted(HIDDEN))),
        ("no command changes", code((*sealed, *git))),
        ("neither writes, but where `files.write` names it", code(sorted(AUTORUN))),
        (
            "no command leaves behind",
            code((*protected.UNWANTED, *(f"{protected.GIT}/{each}" for each in protected.GIT_UNWANTED))),
        ),
    )
    return table(("Of an agent's folder", "Names"), rows)


def sees() -> str:
    """What is there for a command in its room."""
    rows = (
        ("read-only", f"`/usr`, {code(room.SYSTEM_FILES)}, folders of `exec.paths`"),
        ("its own", "the agent's folder; a fresh `/tmp`, `/dev`, `/proc`; a list of users with its own name alone"),
        ("programs", f"in folders of `exec.paths`, then {code(room.SEARCH)}; never in the agent's folder"),
        ("variables", f"{code(surroundings.PLAIN)}, `GIT_*`; with `exec.network`: {code(VARIABLES)}; secrets by name"),
        ("sockets", ", ".join(syscall_filter.SOCKETS.values())),
    )
    return table(("What", "Which"), rows)


def refused_calls() -> str:
    """System calls that the filter of a room refuses."""
    always = code(each.name for each in syscall_filter.REFUSED)
    unbounded = code(each.name for each in syscall_filter.UNBOUNDED)
    with_modes = (each for calls in syscall_filter.MODES.values() for each in calls)
    by_arguments = code(each.name for each in (*syscall_filter.SPECIAL, *with_modes))
    ranked = (each for each, _ in syscall_filter.RANKS.values())
    of_itself = code(each.name for each in (*syscall_filter.OF_ITSELF, *ranked))
    rows = (
        ("refused", always),
        ("refused by its arguments", by_arguments),
        ("not there", code(each.name for each in syscall_filter.BEYOND_REACH)),
        ("refused in the fall-back, too", unbounded),
        ("refused there unless about the caller itself", of_itself),
    )
    return table(("System calls", "Which"), rows)


def gaps() -> str:
    """What the fall-back does not hold back, on the oldest kernel that it takes."""
    return "\n".join(f"{at}. {each};" for at, each in enumerate(landlock.gaps(landlock.VERSION_MIN), 1))[:-1] + "."


def hosts() -> str:
    """Addresses that are not public, and those that nobody can open."""
    opened = [each for each in address.INSIDE if not any(_within(each, other) for other in address.NEVER)]
    rows = (
        ("never, whatever anybody declares", code(address.NEVER)),
        ("only where `private` in `[web]` opens the network", f"{code(opened)}, and any of this machine's own"),
        (
            "IPv6, beside these",
            f"only within `{address.PUBLIC_6}`; of `{address.TRANSLATED}` the address inside counts",
        ),
    )
    return table(("Reached", "Addresses"), rows)


def _within(network: address.Network, other: address.Network) -> bool:
    """True where all of a network lies in the other."""
    return network.version == other.version and network[0] in other and network[-1] in other


def bounds() -> str:
    """What one command may use up."""
    notes = field_notes(room.Bounds)
    rows = (
        (f"`{each.name}`", _measure(each.name, each.default), notes[each.name])
        for each in msgspec.structs.fields(room.Bounds)
    )
    return table(("Limit", "Default", "Of"), rows)


def limits() -> str:
    """The limits of a turn with their defaults."""
    notes = field_notes(Limits)
    rows = ((f"`{each.name}`", str(each.default), notes[each.name]) for each in msgspec.structs.fields(Limits))
    return table(("Limit", "Default", "Meaning"), rows)


def limits_in(module: ModuleType) -> Iterator[tuple[str, float, str]]:
    """The public limits that a module sets and explains: name, value, and the text below it."""
    for name, text in _CONSTANT.findall(inspect.getsource(module)):
        value = getattr(module, name)
        if text and _LIMIT.fullmatch(name) and isinstance(value, int | float):
            yield name, value, " ".join(text.split())


def fixed() -> str:
    """Limits that no file changes."""
    rows = (
        (what, f"`{name}`", _measure(name, value), text)
        for what, modules in BOUNDED.items()
        for module in modules
        for name, value, text in limits_in(module)
    )
    return table(("Of", "Limit", "Is", "Meaning"), rows)


def _measure(name: str, value: float | None) -> str:
    """A figure with its unit, which its name tells."""
    words = name.lower().split("_")
    if value is None:
        return "none"
    if "s" in words:
        return format_duration(value) if value >= 1 else f"{value:g} s"
    if "bytes" in words:
        step = next(((size, unit) for size, unit in ((1_048_576, "MiB"), (1_024, "KiB")) if value % size == 0), None)
        return f"{value // step[0]:,.0f} {step[1]}" if step else f"{value:,} bytes"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


PARTS = {
    "can-effects": effects,
    "can-tools": tools,
    "can-grants": grants,
    "can-gates": gates,
    "can-never": never,
    "can-see": sees,
    "can-calls": refused_calls,
    "can-gaps": gaps,
    "can-hosts": hosts,
    "can-bounds": bounds,
    "limits": limits,
    "can-fixed": fixed,
}
"""What `generate` writes between the marks of that name."""
