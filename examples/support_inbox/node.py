"""The node of the demo: the real one, with a story's clock and a postman beside it.

Started by the real supervisor in the place of `ostinato.node`. Knows nothing of what the demo shows.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from examples.support_inbox.postman import Postman
from examples.support_inbox.story import Story, StoryClock, run_story
from ostinato.app import FleetApp
from ostinato.domain.errors import OstinatoError
from ostinato.node import FINAL, serve
from ostinato.store.port import Store
from ostinato.testing.clock import WatchedStore


class StoryApp(FleetApp):
    """A whole node whose time stands still while its store is at work."""

    def __init__(self, fleet: Path, clock: StoryClock) -> None:
        super().__init__(fleet, clock=clock, story_time=True)
        self._story_clock = clock

    def _open_store(self) -> Store:
        return WatchedStore(super()._open_store(), self._story_clock)

    def is_at_work(self) -> bool:
        """True while an attempt runs."""
        return self.node is not None and self.node.running > 0


async def _serve(app: FleetApp, postman: Postman) -> None:
    delivering = asyncio.create_task(postman.deliver())
    try:
        await serve(app)
    finally:
        delivering.cancel()


def main(folder: Path) -> int:
    """The exit code. `folder` holds the story, its time, and the fleet."""
    story = msgspec.json.decode((folder / "story.json").read_bytes(), type=Story)
    clock = StoryClock(folder / "story-time", begins_at=story.begins_at)
    fleet = folder / "fleet"
    try:
        app = StoryApp(fleet, clock)
        inbox = fleet / "agents" / "triage" / "inbox"
        postman = Postman(
            Path(story.mails), inbox, clock=clock, midnight_at=story.midnight_at, book=folder / "delivered"
        )
        run_story(_serve(app, postman), clock, story, busy=app.is_at_work)
    except OstinatoError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if error.code in FINAL else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
