"""`ostinato approvals ...`: what only a person can settle.

Knows nothing of how operations work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ostinato.cli.client import Client
from ostinato.cli.options import (
    Before,
    Commands,
    Fleet,
    Json,
    Limit,
    OfAgent,
    OfTask,
    QuestionId,
    Reason,
    json_argument,
    text_argument,
)
from ostinato.cli.screen import Screen
from ostinato.cli.words import when
from ostinato.domain.errors import Invalid
from ostinato.domain.message import OWN_KINDS, kind_of
from ostinato.gateway import approvals_api
from ostinato.gateway.views import QuestionView


def list_questions(
    *,
    state: Annotated[
        str, typer.Option("--state", metavar="STATE", help="pending, allowed, denied, answered, expired, all.")
    ] = "pending",
    everything: Annotated[bool, typer.Option("--all", help="Settled ones, too: the same as --state all.")] = False,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="approval, ask, unknown, budget, failure.")
    ] = None,
    agent: OfAgent = None,
    task: OfTask = None,
    before: Before = None,
    limit: Limit = 50,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Questions, newest first; those that wait, unless asked otherwise.

    Example: ostinato approvals list
    """
    screen = Screen()
    state = "all" if everything else state
    request = approvals_api.WhichQuestions(state=state, kind=kind, agent=agent, task=task, before=before, limit=limit)
    found = Client(fleet).call(approvals_api.list_questions, request)
    if as_json:
        screen.json(found)
        return
    if not found.questions:
        screen.say("Nothing waits for you." if state == "pending" else "There are none.")
        return
    rows = [
        (each.id, each.state, each.kind, each.agent, each.task, when(each.expires_at), each.summary)
        for each in found.questions
    ]
    screen.table(("QUESTION", "STATE", "KIND", "AGENT", "TASK", "EXPIRES", "ABOUT"), rows, grow=6)
    if state == "pending":
        screen.say("Look before you decide: ostinato approvals show QUESTION")
    if found.next:
        screen.say(f"older ones: ostinato approvals list --before {found.next}")


def show(
    question: QuestionId,
    *,
    edit: Annotated[
        Path | None, typer.Option("--edit", metavar="FILE", help="As it would be with these arguments, from JSON.")
    ] = None,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """One question with the exact action in full: what you see is what will be done. With --edit, what your change of
    it comes to, before you decide.

    Example: ostinato approvals show Q7
    """
    screen, client = Screen(), Client(fleet)
    if edit is None:
        view = client.call(approvals_api.show, approvals_api.WhichQuestion(question=question))
    else:
        request = approvals_api.EditQuestion(question=question, arguments=_text_of(edit))
        view = client.call(approvals_api.edited, request)
    if as_json:
        screen.json(view)
    else:
        _show(screen, view)


def allow(
    question: QuestionId,
    *,
    arguments: Annotated[
        str | None, typer.Option("--arguments", metavar="JSON", help="Other arguments in place of the agent's.")
    ] = None,
    more: Annotated[
        float | None, typer.Option("--more", metavar="SUM", help="How much more, where a limit asks: 2.50 dollars.")
    ] = None,
    edit: Annotated[
        Path | None, typer.Option("--edit", metavar="FILE", help="The same, from a file with JSON.")
    ] = None,
    always: Annotated[
        list[str] | None,
        typer.Option("--always", metavar="PATTERN", help="And its like for good: to=mail:*@example.com; or 'exact'."),
    ] = None,
    reason: Reason = "",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Let the action happen, once; or let a limit be passed once more.

    Example: ostinato approvals allow Q7
    """
    if edit is not None and arguments is not None:
        raise Invalid("There are two edits", place="--edit", cure="Give --edit or --arguments.")
    changed = json_argument(arguments, option="--arguments")
    if edit is not None:
        changed = json_argument(_text_of(edit), option=str(edit))
    request = approvals_api.AllowQuestion(
        question=question, reason=reason, arguments=changed, always=list(always or ()), more=more
    )
    _say_settled(Client(fleet).call(approvals_api.allow, request), as_json=as_json)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"It cannot be read: {error}", place=str(file), cure="Name a file with JSON.") from None


def deny(question: QuestionId, *, reason: Reason = "", fleet: Fleet = None, as_json: Json = False) -> None:
    """Refuse; the agent reads the reason as the result of its call.

    Example: ostinato approvals deny Q7 --reason "not before Monday"
    """
    request = approvals_api.DenyQuestion(question=question, reason=reason)
    _say_settled(Client(fleet).call(approvals_api.deny, request), as_json=as_json)


def answer(
    question: QuestionId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="- reads standard input.")],
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Answer what an agent asked, or say what became of an action whose outcome is unknown.

    Example: ostinato approvals answer Q7 "The red one."
    """
    request = approvals_api.AnswerQuestion(question=question, text=text_argument(text))
    _say_settled(Client(fleet).call(approvals_api.answer, request), as_json=as_json)


def _say_settled(view: QuestionView, *, as_json: bool) -> None:
    screen = Screen()
    if as_json:
        screen.json(view)
        return
    who = "it is decided what becomes of" if view.kind == "failure" else f"{view.agent} goes on with"
    screen.say(f"{view.id} is {view.state}; {who} {view.task}")
    screen.say(f"See what comes of it: ostinato tasks show {view.task}")


def _show(screen: Screen, view: QuestionView) -> None:
    screen.say(f"{view.id} {view.kind}, {view.state}", style="strong")
    screen.pairs(
        [
            ("question", view.text),
            ("asked by", f"{view.agent}, for {view.task} in {view.session}"),
            ("why", f"{view.reason}{f' ({view.rule})' if view.rule else ''}"),
            ("asks", view.asks),
            ("on behalf of", ", ".join(view.requesters)),
            ("asked", when(view.created_at)),
            ("expires", f"{when(view.expires_at)}, {_at_its_end(view)}" if view.expires_at else ""),
            ("settled", f"by {view.decided_by or 'nobody'}, {when(view.decided_at)}" if view.decided_at else ""),
            ("answer", view.answer),
        ]
    )
    if view.tool is not None:
        screen.say(f"\nthe exact action: {view.tool}", style="strong")
        for name, value in (view.arguments or {}).items():
            _argument(screen, name, value)
        if view.bound:
            screen.say("\nwhich is, and must still be when it happens:", style="strong")
            for name, value in view.bound.items():
                _argument(screen, name, value)
        if view.edited is not None:
            screen.say("\nchanged by a person to:", style="strong")
            for name, value in view.edited.items():
                _argument(screen, name, value)
            screen.say("\nwhat that changes:", style="strong")
            for line in _changes(view.arguments or {}, view.edited):
                screen.say(f"  {line}")
        screen.say(f"digest {view.digest}", style="faint")
    if view.state == "pending":
        screen.say()
        for command in _next(view):
            screen.say(f"→ {command}")


def _at_its_end(view: QuestionView) -> str:
    if view.kind == "failure":
        return "and then it stays a dead letter" if _is_beside(view) else "and then it is given up"
    return "which counts as a denial"


def _is_beside(view: QuestionView) -> bool:
    """True where the failure is of a session that goes on: nothing waits for the answer."""
    return bool(view.session) and kind_of(view.session) not in OWN_KINDS


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """The differences, line by line."""
    old, new = _lines(before), _lines(after)
    for line in difflib.unified_diff(old, new, lineterm="", n=1):
        if not line.startswith(("---", "+++", "@@")):
            yield line


def _lines(arguments: dict[str, Any]) -> list[str]:
    return [f"{name}: {line}" for name, value in sorted(arguments.items()) for line in _text(value).split("\n")]


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _argument(screen: Screen, name: str, value: object) -> None:
    """In full, however long: what is not shown could be what matters."""
    text = _text(value)
    if "\n" in text:
        screen.say(f"  {name}:")
        for line in text.split("\n"):
            screen.say(f"    {line}")
    else:
        screen.say(f"  {name}: {text}")


def _next(view: QuestionView) -> tuple[str, ...]:
    if view.kind == "ask":
        return (f'ostinato approvals answer {view.id} "..."',)
    allow_it, deny_it = f"ostinato approvals allow {view.id}", f'ostinato approvals deny {view.id} --reason "..."'
    if view.kind == "unknown":
        return (f"{allow_it}    (it did not happen: do it again)", f'ostinato approvals answer {view.id} "it happened"')
    if view.kind == "failure" and _is_beside(view):
        return f"{allow_it}    (try the turn again)", f"{deny_it}    (leave it as it is)"
    if view.kind == "failure":
        return (
            f"{allow_it}    (try again)",
            f'ostinato approvals answer {view.id} "retry with AGENT"',
            f"{deny_it}    (give up)",
        )
    return allow_it, deny_it


def list_permissions(
    *,
    agent: OfAgent = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were revoked.")] = False,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """What people have allowed for good, and until when.

    Example: ostinato approvals permissions
    """
    screen = Screen()
    request = approvals_api.WhichPermissions(agent=agent, all=everything)
    found = Client(fleet).call(approvals_api.list_permissions, request)
    if as_json:
        screen.json(found)
        return
    rows = [
        (each.id, each.agent, each.tool, _meant(each), each.by, when(each.added_at), when(each.revoked_at))
        for each in found.permissions
    ]
    screen.table(("PERMISSION", "AGENT", "TOOL", "FOR", "BY", "SINCE", "REVOKED"), rows, grow=3)


def revoke(
    permission: Annotated[str, typer.Argument(metavar="PERMISSION", help="P3, or just 3.")],
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Take back what was allowed for good: its gate asks again.

    Example: ostinato approvals revoke P3
    """
    screen = Screen()
    request = approvals_api.WhichPermission(permission=permission)
    view = Client(fleet).call(approvals_api.revoke, request)
    screen.answer(view, f"{view.id} is revoked: {view.agent} asks again before {view.tool}", as_json=as_json)


def _meant(permission: approvals_api.PermissionView) -> str:
    parts = {**{name: _text(value) for name, value in permission.exact.items()}, **permission.like}
    return f"{permission.gate}: " + ", ".join(f"{name}={value}" for name, value in parts.items())


HELP = "Questions that wait for a person."

COMMANDS: Commands = {
    "list": list_questions,
    "show": show,
    "allow": allow,
    "deny": deny,
    "answer": answer,
    "permissions": list_permissions,
    "revoke": revoke,
}
