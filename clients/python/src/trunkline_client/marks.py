"""Marks of what the user has received and read, until the gateway has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .values import Fields, Recent

#: How long marks wait for others of their conversation, in seconds.
WAIT = 0.05


@dataclass(eq=False)
class Mark:
    """The marks of a conversation."""

    delivered: int = 0
    read: int = 0
    is_told: bool = False


class Marks:
    """Marks that no answer has confirmed. ``write`` writes an ``ack`` and returns its id; ``None`` without a session."""

    def __init__(self, write: Callable[[Fields], int | None]) -> None:
        self._write = write
        self._timer: asyncio.TimerHandle | None = None
        self._of: Recent[str, Mark] = Recent()
        #: The conversation and the marks of each ``ack`` without an answer.
        self._asked: dict[int, tuple[str, Mark]] = {}

    def move(self, conversation: str, delivered: int = 0, read: int = 0) -> None:
        """Moves marks. They never go back."""
        before = self._of.get(conversation, Mark())
        if delivered <= before.delivered and read <= before.read:
            return
        self._of[conversation] = Mark(max(delivered, before.delivered), max(read, before.read))
        self._tell_after(WAIT)

    def tell(self) -> None:
        """Writes what no ``ack`` of this session has."""
        self._stop()
        for conversation, mark in list(self._of.items()):
            if mark.is_told:
                continue
            fields = {"conversation": conversation, "delivered": mark.delivered, "read": mark.read}
            asked = self._write({name: value for name, value in fields.items() if value})
            if asked is None:
                return
            mark.is_told = True
            self._asked[asked] = (conversation, mark)

    def begin(self) -> None:
        """A session has begun: tells everything again that has no answer."""
        self.lose()
        self.tell()

    def lose(self) -> None:
        """The session is lost, and with it the answers."""
        self._stop()
        self._asked.clear()
        for mark in self._of.values():
            mark.is_told = False

    def forget(self) -> None:
        """Drops marks of a history that is no more: they may name sequences of other messages."""
        self.lose()
        self._of.clear()

    def answer(self, message: Fields) -> bool:
        """Takes an answer. Returns whether it belongs to an ``ack``."""
        asked = self._asked.pop(message.get("id", 0), None)
        if asked is None:
            return False
        conversation, mark = asked
        error = message.get("error")
        if error and error.get("temporary"):
            mark.is_told = False
            self._tell_after(error.get("retry_ms", 1000) / 1000)
        elif self._of.get(conversation) is mark:
            del self._of[conversation]
        return True

    def _tell_after(self, delay: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay, self.tell)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
