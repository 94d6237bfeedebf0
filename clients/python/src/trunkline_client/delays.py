"""The random delays between attempts to connect, as docs/protocol.md asks ("Close codes"). All are in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: The end of the first range after a failed attempt that follows a ``disconnect``.
FIRST_FAILURE = 0.2

#: The end of the first range after a session that was lost without ``disconnect``.
FIRST_LOSS = 0.1

#: The end of the last range after such a session.
LONGEST_LOSS = 5.0


class Delays:
    """Chooses the delay before each attempt. ``random`` returns a number from 0 to 1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.begin()

    def begin(self) -> None:
        """A session was well: the next loss begins with the first range."""
        self._end, self._longest = FIRST_LOSS, LONGEST_LOSS

    def told(self, delay_ms: Sequence[float]) -> float:
        """Returns the delay after the gateway said in which range to come back."""
        begin, end = (ms / 1000 for ms in delay_ms)
        self._end, self._longest = FIRST_FAILURE, max(end, 1.0)
        return begin + self._random() * (end - begin)

    def next(self) -> float:
        """Returns the delay after a loss or a failed attempt."""
        delay = self._random() * self._end
        self._end = min(2 * self._end, self._longest)
        return delay

    def unavailable(self, seconds: float) -> float:
        """Returns the delay after HTTP 503 with this ``Retry-After``."""
        return seconds + self._random()
