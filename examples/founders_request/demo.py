"""What a founder asks for in one breath: a summary, a draft, a mail that goes out after a yes, and a reminder.

    python -m examples.founders_request.demo

The model is a file of rules, mail is a file, and the fleet is a copy that goes away. Exits with 1 unless the mail was
written once, as it was allowed, and the reminder came.
"""

from __future__ import annotations

import asyncio
import email
import sys
from pathlib import Path

from examples.stage import Stage, play
from ostinato.domain.message import OPERATOR_SESSION
from ostinato.gateway import approvals_api, schedules_api, sessions_api

REQUEST = "Sum up the notes of this week, draft a mail to the investors, and send it when I have said yes."
REMINDER = "Remind me to call the bank."


async def story(stage: Stage) -> bool:
    """From the request to the reminder."""
    print(f"you: {REQUEST}")
    await stage.call(sessions_api.send, sessions_api.SendMessage(agent="assistant", text=REQUEST))
    question = await stage.question()
    out = stage.fleet / "agents/assistant/out"
    print(f"  summary: {await _line(out / 'summary.md')}")
    draft = await _line(out / "draft.md")
    print(f"  draft:   {draft}")
    print(f"{question.id} asks: {question.summary}")
    before = await asyncio.to_thread(lambda: list((stage.fleet / "outbox").glob("*")))

    leave = approvals_api.AllowQuestion(question=question.id, reason="good")
    await stage.call(approvals_api.allow, leave)
    print(f"you: ostinato approvals allow {question.id}")
    letters = await stage.until(lambda: asyncio.to_thread(lambda: list((stage.fleet / "outbox").glob("*.eml"))))
    letter = email.message_from_bytes(await asyncio.to_thread(letters[0].read_bytes))
    print(f"  mail to {letter['To']}: {letter.get_payload().strip()}")  # type: ignore[union-attr]  # it has one part

    when = schedules_api.AddSchedule(name="bank", agent="assistant", text=REMINDER, at="1s")
    await stage.call(schedules_api.add, when)
    print("you: ostinato schedules add bank --agent assistant --at 1s ...   (on Friday at nine, in earnest)")

    async def reminded() -> list[str]:
        said = await stage.look(lambda reads: reads.messages(OPERATOR_SESSION))
        return [each.text for each in said if "bank" in each.text]

    texts = await stage.until(reminded)
    print(f"  assistant: {' '.join(texts[0].split())}")
    return not before and len(letters) == 1 and draft in str(letter.get_payload())


async def _line(file: Path) -> str:
    return " ".join((await asyncio.to_thread(file.read_text)).split())


if __name__ == "__main__":
    sys.exit(play(Path(__file__), story))
