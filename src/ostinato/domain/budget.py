"""Money and tokens before they are spent: what a model call may cost at most, and whether a budget has room for it.

Knows nothing of price tables or ledgers. Both are reserved on intent and settled on reply, so a crash in between errs
on the side of having spent them. A task's account is charged by everything that it sets off, so that no child can
spend what its parent has not.
"""

from __future__ import annotations

import enum

from ostinato.domain.chat import Usage
from ostinato.domain.errors import Exhausted
from ostinato.domain.values import Value

WARN_AT = 0.8
"""The part of a budget at which people are told: early enough to do something about it."""


class Price(Value):
    """Micro-dollars per million tokens."""

    input_usd_micros: int
    cached_usd_micros: int
    output_usd_micros: int
    written_usd_micros: int | None = None
    """What the provider writes into its cache; None: like any other input."""


def cost(price: Price, *, input_tokens: int, cached_tokens: int, output_tokens: int, written_tokens: int = 0) -> int:
    """Micro-dollars for a reply, rounded up, so that many small calls never sum to nothing. `cached_tokens` and
    `written_tokens` are parts of `input_tokens`."""
    cached = min(cached_tokens, input_tokens)
    written = min(written_tokens, input_tokens - cached)
    dear = price.input_usd_micros if price.written_usd_micros is None else price.written_usd_micros
    total = (
        (input_tokens - cached - written) * price.input_usd_micros
        + cached * price.cached_usd_micros
        + written * dear
        + output_tokens * price.output_usd_micros
    )
    return -(-total // 1_000_000)


def cost_of(price: Price, usage: Usage) -> int:
    """Micro-dollars for what a reply says that it used, rounded up."""
    return cost(
        price,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        written_tokens=usage.written_tokens,
    )


def reservation(price: Price, *, prompt_tokens: int, output_tokens_max: int) -> int:
    """Micro-dollars to set aside before a call: the whole prompt at its dearest and the longest answer allowed."""
    written = prompt_tokens if (price.written_usd_micros or 0) > price.input_usd_micros else 0
    return cost(
        price, input_tokens=prompt_tokens, cached_tokens=0, output_tokens=output_tokens_max, written_tokens=written
    )


class Unit(enum.StrEnum):
    """What a budget is counted in."""

    USD = "usd"
    TOKENS = "tokens"


class Spend(Value):
    """Micro-dollars and tokens together."""

    usd_micros: int = 0
    tokens: int = 0

    def __add__(self, other: Spend) -> Spend:
        """Both sums."""
        return Spend(usd_micros=self.usd_micros + other.usd_micros, tokens=self.tokens + other.tokens)

    def of(self, unit: Unit) -> int:
        """One of the two."""
        return self.usd_micros if unit is Unit.USD else self.tokens


class Ceiling(Value):
    """The most that an account may hold; None: no limit."""

    usd_micros: int | None = None
    tokens: int | None = None

    def of(self, unit: Unit) -> int | None:
        """One of the two."""
        return self.usd_micros if unit is Unit.USD else self.tokens

    @property
    def is_open(self) -> bool:
        """True where nothing is limited."""
        return self.usd_micros is None and self.tokens is None


class Account(Value):
    """What a scope (an agent's day, the fleet's day, a task with all that it sets off) has used of its limits."""

    scope: str = ""
    day: int = 0
    spent: Spend = Spend()
    reserved: Spend = Spend()
    granted: Spend = Spend()
    """What people have added to its limits."""
    most: Ceiling = Ceiling()
    warned: bool = False
    question: int | None = None
    """The question that asks a person for more."""

    @property
    def used(self) -> Spend:
        """Spent or set aside."""
        return self.spent + self.reserved

    def room(self, unit: Unit) -> int | None:
        """What is left, never less than nothing; None: no limit."""
        most = self.most.of(unit)
        return None if most is None else max(0, most + self.granted.of(unit) - self.used.of(unit))

    def short_of(self, amount: Spend) -> Short | None:
        """What is missing for `amount` more; None where there is room."""
        for unit in Unit:
            most, room = self.most.of(unit), self.room(unit)
            if most is not None and room is not None and amount.of(unit) > room:
                limit = most + self.granted.of(unit)
                return Short(
                    scope=self.scope, day=self.day, unit=unit, limit=limit, used=self.used.of(unit),
                    wanted=amount.of(unit), step=most, question=self.question,
                )  # fmt: skip
        return None

    def is_near(self, amount: Spend) -> Unit | None:
        """The unit of which `amount` more makes so much used that people should know."""
        for unit in Unit:
            most = self.most.of(unit)
            if most and self.used.of(unit) + amount.of(unit) >= WARN_AT * (most + self.granted.of(unit)):
                return unit
        return None


class Short(Value):
    """A budget without room for a call."""

    scope: str
    day: int
    unit: Unit
    limit: int
    """With what people have granted."""
    used: int
    wanted: int
    step: int
    """What a person grants who says nothing else: the limit once more."""
    question: int | None = None

    @property
    def owner(self) -> str:
        """Whose it is, in words."""
        kind, _, name = self.scope.partition(":")
        return {"agent": f"agent {name!r}", "task": f"T{name} with all that it sets off"}.get(kind, "the fleet")

    @property
    def words(self) -> str:
        """What is wrong, in a sentence without its point."""
        whose = (
            f"The day's budget of {self.owner}" if not self.scope.startswith("task:") else f"The budget of {self.owner}"
        )
        used, limit = amount_words(self.unit, self.used), amount_words(self.unit, self.limit)
        return (
            f"{whose} has no room for {amount_words(self.unit, self.wanted)}: {used} of {limit} are spent or reserved"
        )


class Overdrawn(Exhausted):
    """A budget has no room for what was to be set aside. `denied`: a person has been asked for more, and said no."""

    def __init__(self, short: Short, *, denied: bool = False) -> None:
        anew = "" if short.scope.startswith("task:") else " It begins anew at 00:00 UTC."
        super().__init__(short.words, cure=f"Raise the limit, or grant more.{anew}")
        self.short = short
        self.denied = denied


class BudgetName(Value):
    """The account that a question asks more for."""

    scope: str
    day: int
    unit: Unit
    step: int
    """What is granted by a leave that names no sum, in micro-dollars or tokens."""


def amount_words(unit: Unit, amount: int) -> str:
    """An amount for people: `$0.25`, `1200 tokens`."""
    if unit is Unit.TOKENS:
        return f"{amount} tokens"
    return f"${amount / 1_000_000:.4f}".rstrip("0").rstrip(".")
