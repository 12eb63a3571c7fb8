"""Gates: rules that ask. What one asks about, whom it asks, for how long, and the gates that every agent has.

Knows nothing of grants, nor of how a condition is written: it is handed in as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ostinato.domain.step import Effect
from ostinato.domain.values import Value

Condition = Callable[[Mapping[str, Any]], bool]
"""A compiled `when`. Raises on an error of evaluation, and then the gate holds."""

OPERATOR = "operator"
ADMIN = "admin"
"""Words for whoever has that role; any other word that a gate asks is a person's name."""

COST_ASKED_USD = 1.0
"""Dollars above which a call asks by default: what a whole turn may spend on models by default."""

EXPIRES_S = 86_400.0


class Gate(Value):
    """A rule that asks. Every part that is set must match. `place` is file and line, for the verdict."""

    tool: str = "*"
    effect: Effect | None = None
    when: Condition | None = None
    when_text: str = ""
    ask: str = OPERATOR
    """`operator`, `admin`, or a person's name."""
    expires_s: float = EXPIRES_S
    remind_s: float | None = None
    """Seconds after which a question is asked once more, and again; None: never."""
    escalate: str = ""
    """Whom else to ask: a role or a person; empty: nobody."""
    escalate_s: float = 0.0
    """Seconds after which they are asked."""
    name: str = ""
    """Of a default gate: what `gates_off` calls it."""
    why: str = ""
    """What the asked person reads in place of the condition."""
    place: str = ""

    @property
    def identity(self) -> str:
        """The same for the same rule, wherever it stands: what a standing permission is bound to."""
        return self.name or f"{self.tool} {self.effect.value if self.effect else '*'} {self.when_text}".rstrip()

    @property
    def rank(self) -> int:
        """How far up it asks: an operator, one person, an admin."""
        return {OPERATOR: 0, ADMIN: 2}.get(self.ask, 1)

    def holds(self, tool: str, effect: Effect, variables: Mapping[str, Any]) -> bool:
        """True where the gate asks about this call; a condition that cannot be evaluated holds. An effect that stays
        inside the fleet (`harmless`) is no effect for a gate."""
        if not fnmatchcase(tool, self.tool):
            return False
        if self.effect is not None and (effect is not self.effect or variables["harmless"]):
            return False
        if self.when is None:
            return True
        try:
            return self.when(variables)
        except Exception:  # whatever a condition does wrong, the gate must hold
            return True

    def words(self, tool: str) -> str:
        """Why it asks."""
        if self.why:
            return f"{tool} {self.why}"
        if self.when_text:
            return f"a gate asks when {self.when_text}"
        if self.effect is not None:
            return f"{tool} is {self.effect.value}"
        return f"a gate asks about {self.tool}"


def _is_unaddressed(call: Mapping[str, Any]) -> bool:
    return bool(call["outward"] and not call["recipient"] and not call["hosts"])


def _is_dear(call: Mapping[str, Any]) -> bool:
    return bool(call["cost"] > COST_ASKED_USD)


def _may_leak(call: Mapping[str, Any]) -> bool:
    """What strangers wrote could make the agent tell what is private: at once where somebody is told something, and by
    the mere address where a host is asked for something."""
    tells = call["outward"] and (call["private"] or call["remembers"])
    return bool(call["tainted"] and (tells or (call["hosts"] and call["private"])))


def _is_tainted(call: Mapping[str, Any]) -> bool:
    return bool(call["tainted"])


def _default(name: str, **parts: Any) -> Gate:
    return Gate(name=name, place=f"default gate '{name}' (AGENTS.md, gates_off)", **parts)


DEFAULT_GATES: Mapping[str, Gate] = {
    each.name: each
    for each in (
        _default("irreversible", effect=Effect.IRREVERSIBLE),
        _default("outward", when=_is_unaddressed, why="is seen outside the fleet, by nobody whom TOOLS.md declares"),
        _default("cost", when=_is_dear, why=f"may cost more than ${COST_ASKED_USD:g}"),
        _default("taint", when=_may_leak, why="reaches outside after private data and text from strangers were read"),
        _default("memory", tool="memory.curate", when=_is_tainted, why="was called after text from strangers was read"),
    )
}
"""Gates that hold unless a person switches them off by name (`gates_off: [irreversible]`)."""
