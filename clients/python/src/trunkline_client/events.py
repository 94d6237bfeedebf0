"""The events of the user, each handed over once and in order: the position, what was seen, and missed events.

The connection puts events into a queue of bounded length, and one task hands them over. A program that is slower than
its events lets the queue get full. Then further events are dropped, and fetched when there is room again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from .values import Fields, Recent

#: The most events that wait for the program.
WAITING = 2_000

#: After this many own messages without an event, the client asks for the position behind them.
OWN = 1_000


class Parts(Protocol):
    """What the events need of the client."""

    async def tell(self, kind: str, event: Fields, pos: str | None) -> None:
        """Calls the listeners of an event."""

    async def fetch(self, since: str) -> Fields:
        """Returns a page of ``sync``."""

    def is_own(self, user: str) -> bool:
        """Returns whether this is the user of the client."""

    def sends(self, key: str) -> bool:
        """Returns whether a message with this key is on its way."""

    def failed(self, error: Exception) -> None:
        """Missed events cannot be fetched in this session."""


class Waiting(NamedTuple):
    """What waits for the program."""

    #: Whether it has a place in the order of the events. Only what has none outlives its session: it comes once.
    is_stored: bool
    work: Callable[[], Awaitable[None]]


class Events:
    """Hands events over. ``position`` is behind the last one."""

    def __init__(self, position: str | None, parts: Parts) -> None:
        self.position = position
        self._parts = parts
        self._queue: deque[Waiting] = deque()
        #: How much of the queue is stored.
        self._stored = 0
        self._wake = asyncio.Event()
        #: Whether the client is closed. What waits is handed over, and nothing follows.
        self._is_over = False
        #: Whether events behind the queue were dropped.
        self._is_missing = False
        self._is_filling = False
        #: The number of the session. What belongs to an earlier one is not handed over.
        self._session = 0
        #: The highest sequence that was handed over, by conversation.
        self._seen: Recent[str, int] = Recent()
        #: Own messages that a reply has told, and no event may tell again.
        self._own: Recent[tuple[str, int], None] = Recent()
        self._own_since = 0
        #: Events that were fetched and may still come live.
        self._fetched: Recent[str, None] = Recent()

    @property
    def is_filling(self) -> bool:
        """Whether missed events of this session are on their way."""
        return self._is_missing or self._is_filling

    def take(self, kind: str, event: Fields, pos: str | None = None) -> bool:
        """Takes an event that came live, or as one that a ``connect`` missed. Returns whether there was room for it.

        What has no ``pos`` is lost without room. Anything else comes again.
        """
        is_stored = pos is not None
        if len(self._queue) >= WAITING or (is_stored and self._is_missing):
            self._is_missing |= is_stored
            return False
        self._later(is_stored, lambda: self._hand(kind, event, pos))
        return True

    def then(self, moved: str, told: Callable[[], Awaitable[None]]) -> None:
        """Moves the position and calls ``told`` when everything before was handed over."""

        async def reached() -> None:
            self.move(moved)
            await told()

        if not self._is_missing:
            self._later(True, reached)

    def sent(self, reply: Fields) -> None:
        """Notes that a reply tells of a message of this client."""
        conversation, seq = reply["conversation"], reply["seq"]
        if seq <= self._seen.get(conversation, 0):
            return
        self._own[conversation, seq] = None
        self._own_since += 1
        if self._own_since >= OWN:
            self.miss()

    def move(self, pos: str | None) -> None:
        """Moves the position."""
        self._own_since = 0
        if pos is not None:
            self.position = pos

    def miss(self) -> None:
        """Events are missing: fetches them when everything before was handed over."""
        self._is_missing = True
        self._wake.set()

    def end(self) -> None:
        """The client is closed: ``run`` ends when nothing waits."""
        self._is_missing = False
        self._is_over = True
        self._wake.set()

    def lose(self) -> None:
        """The session is lost: the next one has what is missing."""
        self._session += 1
        self._queue = deque(one for one in self._queue if not one.is_stored)
        self._stored = 0
        self._is_missing = self._is_filling = False

    def forget(self) -> None:
        """Forgets what belongs to a history that is no more."""
        self.lose()
        self.position = None
        self._seen.clear()
        self._own.clear()
        self._fetched.clear()

    async def run(self) -> None:
        """Hands events over until the client is closed and nothing waits."""
        while True:
            # What is missing comes behind what is stored. What is not stored must not keep it back.
            if self._is_missing and self._stored == 0:
                await self._fill()
            elif self._queue:
                is_stored, work = self._queue.popleft()
                self._stored -= is_stored
                await work()
            elif self._is_over:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _later(self, is_stored: bool, work: Callable[[], Awaitable[None]]) -> None:
        self._queue.append(Waiting(is_stored, work))
        self._stored += is_stored
        self._wake.set()

    async def _hand(self, kind: str, event: Fields, pos: str | None) -> None:
        """Hands an event over, unless it was before, and moves the position behind it."""
        if pos is not None and pos in self._fetched:
            del self._fetched[pos]
            return
        session = self._session
        if kind != "message" or self._is_new(event):
            await self._parts.tell(kind, event, pos)
        if pos is None:
            return
        # The next session may have begun meanwhile, and may have the event once more.
        if session == self._session:
            self.move(pos)
        else:
            self._fetched[pos] = None

    def _is_new(self, event: Fields) -> bool:
        conversation, seq = event["conversation"], event["seq"]
        if seq <= self._seen.get(conversation, 0):
            return False
        self._seen[conversation] = seq
        if not self._parts.is_own(event["from"]):
            return True
        if (conversation, seq) in self._own:
            del self._own[conversation, seq]
            return False
        # The reply to a message of this client was lost: its caller gets the one to its repetition.
        key = event.get("key")
        return key is None or not self._parts.sends(key)

    async def _fill(self) -> None:
        """Fetches missed events. What comes live from now on waits in the queue."""
        session = self._session
        self._is_missing, self._is_filling = False, True
        more = True
        fetched: list[str] = []
        try:
            while more:
                page = await self._parts.fetch(self.position or "0")
                for entry in page["events"]:
                    pos = entry["pos"]
                    [kind] = (name for name in entry if name != "pos")
                    await self._hand(kind, entry[kind], pos)
                    if session != self._session:
                        return
                    fetched.append(pos)
                self.move(page["pos"])
                more = page["more"]
        except Exception as error:
            if session == self._session:
                self._is_filling = False
                self._parts.failed(error)
            return
        if session != self._session:
            return
        self._fetched.update(dict.fromkeys(fetched[-WAITING:]))
        self._is_filling = False
        await self._parts.tell("caught_up", {"pos": self.position}, None)
