"""Text as it streams in, for whoever is watching a session right now. Lost when nobody watches; the journal has it all.

Knows nothing of models or HTTP.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from ostinato.domain.secret import KNOWN, StreamRedactor

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

    def listener(self, session: str) -> Telling | None:
        """What a model call should tell its text to; None where nobody watches, so that nothing is done for nobody."""
        watchers = self._watchers.get(session)
        if not watchers:
            return None

        return Telling(watchers)


class Telling:
    """Tells watchers the text of one model call, without any secret in it, however it is cut into pieces."""

    def __init__(self, watchers: list[Watcher]) -> None:
        self._watchers = watchers
        self._redactor = StreamRedactor(KNOWN)

    def __call__(self, text: str) -> None:
        """Some more text."""
        self._tell(self._redactor.feed(text))

    def end(self) -> None:
        """Nothing more comes: what was kept back is told, too."""
        self._tell(self._redactor.rest())

    def _tell(self, text: str) -> None:
        for each in tuple(self._watchers) if text else ():
            each(text)
