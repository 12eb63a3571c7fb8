"""The choice of an agent for a task: skills first, then who has least to do; explained line by line.

Knows nothing of stores or workspaces: candidates and their load are handed in.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.errors import NotFound, unknown_name
from ostinato.domain.values import Value

EXPLAINED_MAX = 12
"""Candidates that an explanation names."""


class Candidate(Value):
    """An agent, as far as routing must know it. `unfinished` counts its tasks that still want something."""

    id: str
    skills: tuple[str, ...] = ()
    paused: bool = False
    unfinished: int = 0


class Route(Value):
    """Who gets a task. Without an agent `blocked` says why nobody can do it now."""

    agent: str | None = None
    why: tuple[str, ...] = ()
    """One line for each candidate that counts, best first."""
    blocked: str = ""


def route(candidates: Sequence[Candidate], *, agent: str | None = None, skills: Sequence[str] = ()) -> Route:
    """The agent that was asked for, or the best of those that have all the skills.

    Of several the order is: not paused, fewest unfinished tasks, name. Raises NotFound for an unknown agent.
    """
    if agent is not None:
        found = next((each for each in candidates if each.id == agent), None)
        if found is None:
            raise NotFound(unknown_name("agent", agent, [each.id for each in candidates]))
        return Route(agent=found.id, why=(f"{found.id}: asked for by name",))
    if not skills:
        return Route(blocked="neither an agent nor skills are named")
    able = sorted((each for each in candidates if not missing(each, skills)), key=_rank)
    if not able:
        return Route(blocked=_nobody(candidates, skills), why=_closest(candidates, skills))
    why = tuple(
        f"{each.id}: has {', '.join(skills)}; {each.unfinished} unfinished{'; paused' if each.paused else ''}"
        for each in able[:EXPLAINED_MAX]
    )
    return Route(agent=able[0].id, why=why)


def missing(candidate: Candidate, skills: Sequence[str]) -> tuple[str, ...]:
    """The skills that a candidate lacks; letters' case does not matter."""
    has = {each.casefold() for each in candidate.skills}
    return tuple(each for each in skills if each.casefold() not in has)


def _rank(candidate: Candidate) -> tuple[bool, int, str]:
    return candidate.paused, candidate.unfinished, candidate.id


def _nobody(candidates: Sequence[Candidate], skills: Sequence[str]) -> str:
    known = {each.casefold() for candidate in candidates for each in candidate.skills}
    unknown = [each for each in skills if each.casefold() not in known]
    if unknown:
        return f"no agent has the skill {', '.join(unknown)}"
    return f"no one agent has all of {', '.join(skills)}"


def _closest(candidates: Sequence[Candidate], skills: Sequence[str]) -> tuple[str, ...]:
    lacking = [(missing(each, skills), each.id) for each in candidates]
    near = sorted((len(lacks), name, lacks) for lacks, name in lacking if len(lacks) < len(skills))
    return tuple(f"{name}: lacks {', '.join(lacks)}" for _, name, lacks in near[:EXPLAINED_MAX])
