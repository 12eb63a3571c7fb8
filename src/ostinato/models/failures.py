"""What a refusal of a model server means: whether to try again, when, and what to tell a person. Pure.

Knows nothing of connections; status, headers and body come in as values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ostinato.domain.secret import KNOWN, STARS
from ostinato.domain.values import SECOND, Instant, Value
from ostinato.models.port import ModelFailed

TRANSIENT = "transient"
RATE_LIMITED = "rate_limited"
PERMANENT = "permanent"
TOO_LONG = "too_long"

AFTER_MAX_S = 86_400.0
"""Longest wait that a provider is believed, in seconds: a day."""

TEXT_MAX = 300
"""Characters of a provider's own words that are passed on."""

_TOO_LONG = re.compile(
    r"context.{0,20}(length|window|size)|maximum (context|prompt|input)|(prompt|input|request)\b.{0,30}too (long|large)"
    r"|too many (input )?tokens|reduce the length|exceeds?.{0,30}(context|token limit)",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(r"insufficient_quota|billing_hard_limit|credit balance", re.IGNORECASE)
KEY_LIKE = re.compile(
    r"\b(?:sk|pk|rk|key|gsk|xai|AIza|Bearer)[-_ ]?[A-Za-z0-9_*.-]{12,}"
    r"|\b(?:gh[opusr]|github_pat|glpat|hf|npm|pypi|dop_v1|ost)[-_][A-Za-z0-9_-]{16,}"
    r"|\bxox[a-z]-[A-Za-z0-9-]{10,}|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]{0,8192}?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^\s/:@]{0,200}:[^\s/@]{1,200}(?=@)"
)
"""What looks like a key, whoever gave it out: those of providers, the published forms of GitHub, GitLab, Slack, AWS and
their like, signed web tokens (RFC 7519), private keys (RFC 7468), and name and password in an address."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


class Failure(Value):
    """Why one attempt gave no reply. `again`: another may succeed; `at_once`: the first of them need not wait."""

    error_class: str
    text: str
    cure: str = ""
    after_s: float | None = None
    again: bool = False
    at_once: bool = False

    def as_error(self, name: str) -> ModelFailed:
        """The exception for the model called `name`."""
        return ModelFailed(
            f"Model {name!r}: {self.text}", error_class=self.error_class, after_s=self.after_s, cure=self.cure
        )


def plain(text: str) -> str:
    """A provider's words on one line, without control characters, without anything like a key, and not too many."""
    text = KNOWN.text(text[:4000])
    return KEY_LIKE.sub(STARS, _CONTROL.sub(" ", text)).strip()[:TEXT_MAX]


def retry_after_s(headers: Mapping[str, str], now: Instant) -> float | None:
    """Seconds that the provider asks to wait: `retry-after-ms`, else `Retry-After` in seconds or as an HTTP date.

    None where there is neither, or only nonsense; never negative, at most AFTER_MAX_S. RFC 9110, section 10.2.3.
    """
    found = _number(headers.get("retry-after-ms"))
    if found is not None:
        return min(found / 1000, AFTER_MAX_S)
    said = headers.get("retry-after")
    found = _number(said)
    if found is not None:
        return min(found, AFTER_MAX_S)
    try:
        moment = parsedate_to_datetime(said) if said else None
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment.timestamp() - now / SECOND, 0.0), AFTER_MAX_S)


def _number(text: str | None) -> float | None:
    try:
        found = float(text) if text else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def failure_of_status(
    status: int,
    body: bytes,
    *,
    after_s: float | None = None,
    key_name: str = "",
    inside: bool = False,
) -> Failure:
    """What a status other than 200 means. `key_name`: the environment variable of the key, for the cure. `inside`: the
    status stands for an error that came in a reply with status 200."""
    code, said = _words(body)
    text = "the server sent an error" if inside else f"the server answered {status}"
    text += f": {plain(said)}" if said.strip() else ""
    about = f"{code} {said}"
    if status == 429 and _NO_MONEY.search(about):
        return Failure(error_class=PERMANENT, text=text, cure="Look at the account's balance with the provider.")
    if status == 429:
        return Failure(error_class=RATE_LIMITED, text=text, after_s=after_s, again=True)
    if status == 413 or (status in (400, 422, 500) and _TOO_LONG.search(about)):
        return Failure(
            error_class=TOO_LONG, text=text, cure="Shorten the context, or choose a model with a larger one."
        )
    if status in (408, 409, 425) or status >= 500:
        return Failure(error_class=TRANSIENT, text=text, after_s=after_s, again=True)
    return Failure(error_class=PERMANENT, text=text, cure=_cure(status, key_name))


def _cure(status: int, key_name: str) -> str:
    if status in (401, 403):
        return f"Check the key in {key_name}." if key_name else "Name the key's variable in `api_key_env`."
    if status == 402:
        return "Look at the account's balance with the provider."
    if status == 404 or 300 <= status < 400:
        return "Check `base_url` and the model's name; redirects are not followed."
    return ""


_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Kinds of errors in the Anthropic dialect, which come in the middle of a stream without their status."""


def failure_of_error(error: object, *, key_name: str = "") -> Failure:
    """What an `error` inside a reply with status 200 means: some servers do so. Its own code decides where that is an
    HTTP status, else its kind; anything else is transient."""
    code = error.get("code") if isinstance(error, dict) else None
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdecimal() and len(code) < 4) else 0
    if not status and isinstance(error, dict) and isinstance(error.get("type"), str):
        status = _STATUS_OF_TYPE.get(error["type"], 0)
    said = msgspec.json.encode({"error": error})
    if not 400 <= status < 600:
        status = 400 if _TOO_LONG.search(said.decode()) else 500
    return failure_of_status(status, said, key_name=key_name, inside=True)


def _words(body: bytes) -> tuple[str, str]:
    """Code and message out of an error's body; for a page of HTML its text."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        text = body[:4000].decode("utf-8", "replace")
        return "", re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE).strip()
    if isinstance(found, list) and found:
        found = found[0]
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return "", error if isinstance(error, str) else ""
    said = error.get("message") or error.get("detail") or error.get("type") or ""
    return f"{error.get('code') or ''} {error.get('type') or ''}", str(said)
