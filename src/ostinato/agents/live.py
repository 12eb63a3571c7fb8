"""Text as it streams in, for whoever is watching a session right now. Lost when nobody watches; the journal has it all.

Knows nothing of models or HTTP.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

Watcher = Callable[[str], None]


class LiveText:
    """Watchers by session key. Used on the event loop only."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, list[Watcher]] = defaultdict(list)

    def watch(self, session: str, watcher: Watcher) -> Callable[[], None]:
        """Calls `watcher` with each piece of text of the session's models; call the result to stop."""
        self._watchers[session].append(watcher)

        def stop() -> None:
            watchers = self._watchers.get(session, [])
            if watcher in watchers:
                watchers.remove(watcher)
            if not watchers:
                self._watchers.pop(session, None)

        return stop

    def listener(self, session: str) -> Watcher | None:
        """What a model call should tell its text to; None where nobody watches, so that nothing is done for nobody."""
        watchers = self._watchers.get(session)
        if not watchers:
            return None

        def tell(text: str) -> None:
            for each in tuple(watchers):
                each(text)

        return tell
