"""The dialects that a script can be asked in, by name and by the path of their requests. Knows nothing of sockets."""

from __future__ import annotations

from collections.abc import Mapping

from ostinato.models.scripted.anthropic_face import ANTHROPIC_FACE
from ostinato.models.scripted.face import Face
from ostinato.models.scripted.openai_face import OPENAI_FACE
from ostinato.models.scripted.responses_face import RESPONSES_FACE

FACES: Mapping[str, Face] = {
    "/v1/chat/completions": OPENAI_FACE,
    "/v1/messages": ANTHROPIC_FACE,
    "/v1/responses": RESPONSES_FACE,
}
"""Where requests of each dialect go."""


def face_of(dialect: str) -> Face:
    """The face of one of the dialects in which we ask."""
    return ANTHROPIC_FACE if dialect == "anthropic" else OPENAI_FACE
