"""A script with its memory: which rules have held how often, and which messages were asked before.

The memory is bounded and lives as long as the player; a restart forgets it. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from ostinato.domain.values import Value
from ostinato.models.scripted.face import Face
from ostinato.models.scripted.openai_face import OPENAI_FACE
from ostinato.models.scripted.reading import read_script
from ostinato.models.scripted.script import Plan, Script, plan
from ostinato.models.scripted.wire import Asked, Identity, seen_of

REMEMBERED_MAX = 4_096
"""Different requests whose attempts are counted, the oldest forgotten first: more than are under way at once, 2 MB."""


class Scene(Value):
    """One request with what the script answers to it."""

    asked: Asked
    digest: str
    """Of the messages: equal for equal conversations."""
    attempt: int
    plan: Plan
    identity: Identity
    face: Face


class Player:
    """Answers requests from a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._counts: dict[str, int] = {}
        self._attempts: OrderedDict[str, int] = OrderedDict()

    @classmethod
    def of_file(cls, path: Path) -> Player:
        """A player for the script in a file. Raises Invalid."""
        return cls(read_script(path))

    def answer(self, body: bytes, *, created: int, face: Face = OPENAI_FACE) -> Scene:
        """What the script says to the request in `body`. `created`: seconds since 1970. Raises BadRequest."""
        asked, digest = face.read(body)
        attempt = self._attempts.pop(digest, 0) + 1
        self._attempts[digest] = attempt
        if len(self._attempts) > REMEMBERED_MAX:
            self._attempts.popitem(last=False)
        found = plan(self.script, seen_of(asked, attempt=attempt, prompt_bytes=len(body)), self._counts)
        for name in found.counted:
            self._counts[name] = self._counts.get(name, 0) + 1
        identity = Identity(id=f"{digest[:24]}{attempt}", model=asked.model, created=created)
        return Scene(asked=asked, digest=digest, attempt=attempt, plan=found, identity=identity, face=face)
