"""Commands on their way: their order, their repetition after a lost connection, and their answers."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .values import Fields, TrunklineError, local_error

#: How often a command is tried again that the gateway could not carry out for the moment.
TRIES = 8

#: The longest random wait between such tries, in seconds.
LONGEST_WAIT = 5.0

#: How many questions may be without an answer. Others wait here. The gateway allows 32.
QUESTIONS = 16

#: Commands that read. The gateway bounds how many of them may wait.
READS = frozenset(
    "receipts sync history get conversations search group_info reactions contacts presence blocked".split()
)

#: Commands that change something and can be repeated: doing it twice changes nothing more.
REPEATABLE = frozenset(
    "send group_create edit recall delete react pin unpin settings block unblock subscribe ping".split()
)

#: What the commands of a name change, and the fields that say which. Those that change the same thing go one after
#: another, so that a repetition never undoes what was asked for later.
CHANGED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("edit", "react", "recall"), ("message", "conversation", "seq")),
    **dict.fromkeys(("pin", "unpin"), ("pins", "conversation")),
    **dict.fromkeys(("block", "unblock"), ("block", "user")),
    **dict.fromkeys(("subscribe", "unsubscribe"), ("topic", "topic")),
    "settings": ("settings", "conversation"),
    **dict.fromkeys((f"group_{what}" for what in "add remove leave rename role set join".split()), ("group", "group")),
}

#: Commands that read, and change something if they have one of these fields. They go one after another then.
CHANGING = {"contacts": ("add", "remove"), "presence": ("watch", "unwatch")}

#: Commands whose order matters to others, and which do not wait for each other: a repetition would come behind later
#: ones. They fail where others are tried again.
STREAMED = frozenset(("publish", "signal"))


def changed(name: str, body: Fields) -> str | None:
    """Returns the name of what a command changes."""
    if fields := CHANGED.get(name):
        return " ".join((fields[0], *(str(body.get(field)) for field in fields[1:])))
    return name if any(field in body for field in CHANGING.get(name, ())) else None


def written(value: Fields) -> str:
    """Returns a value as JSON.

    :raises TypeError, ValueError: it has no form in JSON, or a text has half of a surrogate pair
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    return text


@dataclass(eq=False)
class Command:
    """One command without an answer."""

    id: int
    name: str
    body: Fields
    answer: asyncio.Future[Any]
    #: Sees the reply before everything that follows it.
    first: Callable[[Fields], None] | None
    #: What it changes: it keeps its order among the commands that change the same.
    lane: str | None
    #: Whether it ends with its session.
    is_once: bool
    #: Whether it was written to the present session.
    is_written: bool = False
    was_written: bool = False
    tries: int = 0
    #: Runs while it waits to be tried again.
    timer: asyncio.TimerHandle | None = field(default=None)

    @property
    def is_read(self) -> bool:
        return self.name in READS

    def width(self, pipeline: int) -> int:
        """Returns how many of the commands that change the same thing may be on their way."""
        return pipeline if self.name == "send" else 1

    @property
    def is_repeatable(self) -> bool:
        return not self.is_once and (self.is_read or self.name in REPEATABLE)


class Commands:
    """All commands without an answer. ``write`` writes a text to the session."""

    def __init__(
        self, pipeline: int, max_pending: int, random: Callable[[], float], write: Callable[[str], None]
    ) -> None:
        self._pipeline = pipeline
        self._most = max_pending
        self._random = random
        self._write = write
        self._next_id = 1
        #: By their id, in their order.
        self._pending: dict[int, Command] = {}
        #: The commands that change the same thing. The first ones are on their way.
        self._lanes: dict[str, deque[Command]] = {}
        self._questions = 0
        #: The most bytes of a command; 0 without a session.
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._pending)

    def take_id(self) -> int:
        """Returns an id for a command."""
        taken = self._next_id
        self._next_id = 1 if taken == 2**32 - 1 else taken + 1
        return taken

    def sends(self, key: str) -> bool:
        """Returns whether a message with this key is on its way."""
        return any(one.name == "send" and one.body.get("key") == key for one in self._pending.values())

    async def run(
        self,
        name: str,
        body: Fields,
        *,
        lane: str | None = None,
        is_once: bool = False,
        first: Callable[[Fields], None] | None = None,
    ) -> Any:
        """Carries a command out and returns its reply. ``lane`` says what it changes, if :data:`CHANGED` does not.

        :raises TrunklineError: the gateway refuses it, too many wait, or the session is lost and it cannot be repeated
        :raises TypeError, ValueError: a value has no form in JSON, or a text is not Unicode
        """
        if len(self._pending) >= self._most:
            text = f"{len(self._pending)} commands have no answer yet: wait for some of them"
            raise local_error("queue_full", text)
        answer = asyncio.get_running_loop().create_future()
        # What is missing is left out; `data` may be null.
        body = {name: value for name, value in body.items() if value is not None or name == "data"}
        # What cannot be written must not get into the order: it would hold up all behind it.
        written(body)
        if lane is None:
            lane = changed(name, body)
        command = Command(self.take_id(), name, body, answer, first, lane, is_once)
        self._pending[command.id] = command
        if lane is not None:
            self._lanes.setdefault(lane, deque()).append(command)
        self._push(command)
        # The caller may go away. The command, which may be on its way, stays in its order.
        return await asyncio.shield(answer)

    def begin(self, message_bytes: int) -> None:
        """A session has begun: writes what has no answer, in its order."""
        self._bytes = message_bytes
        for command in list(self._pending.values()):
            self._push(command)

    def lose(self) -> None:
        """The session is lost. Ends what may have been carried out and must not be repeated."""
        self._bytes = self._questions = 0
        for command in list(self._pending.values()):
            if command.timer:
                command.timer.cancel()
                command.timer = None
            if not command.is_written and not command.is_once:
                continue
            command.is_written = False
            if not command.is_repeatable:
                text = f"the connection was lost before the answer to {command.name}"
                self._finish(command, error=local_error("connection_lost", text, command.was_written))

    def end(self, error: TrunklineError) -> None:
        """Ends all commands."""
        self.lose()
        for command in list(self._pending.values()):
            self._settle(command, error=local_error(error.kind, error.args[0], command.was_written))
        self._pending.clear()
        self._lanes.clear()

    def answer(self, message: Fields) -> bool:
        """Takes an answer. Returns whether it belongs to a command."""
        command = self._pending.get(message.get("id", 0))
        if command is None:
            return False
        if "error" in message:
            self._failed(command, message["error"])
        else:
            self._finish(command, reply=message.get(command.name))
        return True

    def _push(self, command: Command) -> None:
        """Writes a command if it is its turn."""
        if self._bytes == 0 or command.is_written or command.timer:
            return
        if command.lane is not None and self._lanes[command.lane].index(command) >= command.width(self._pipeline):
            return
        if command.is_read and self._questions >= QUESTIONS:
            return
        text = written({"id": command.id, command.name: command.body})
        # The gateway would end the session for it.
        if 3 * len(text) > self._bytes and len(text.encode()) > self._bytes:
            message = f"{command.name} has more than the {self._bytes} bytes that the gateway takes"
            error = {"code": 106, "name": "limit_exceeded", "message": message}
            return self._finish(command, error=TrunklineError(error))
        self._questions += command.is_read
        command.is_written = command.was_written = True
        self._write(text)

    def _failed(self, command: Command, error: Fields) -> None:
        # After 111 nothing was done. After the others that is not known, so only what can be repeated is.
        is_refused = error["code"] == 111
        if is_refused:
            again = command.name not in STREAMED
        else:
            again = error["code"] in (100, 115, 120) and command.is_repeatable and command.tries < TRIES
        if not again:
            return self._finish(command, error=TrunklineError(error))
        command.tries += not is_refused
        spread = min(0.1 * 2**command.tries, LONGEST_WAIT)
        delay = error.get("retry_ms", 0) / 1000 + self._random() * spread
        self._answer_came(command)
        command.is_written = False
        if is_refused and not command.is_repeatable:
            command.was_written = False

        def again_now() -> None:
            command.timer = None
            self._push(command)

        command.timer = asyncio.get_running_loop().call_later(delay, again_now)

    def _answer_came(self, command: Command) -> None:
        if not (command.is_read and command.is_written):
            return
        self._questions -= 1
        for other in list(self._pending.values()):
            if self._questions >= QUESTIONS:
                return
            if other.is_read and other is not command:
                self._push(other)

    def _settle(self, command: Command, *, reply: Any = None, error: TrunklineError | None = None) -> None:
        if command.answer.done():
            return
        if error:
            command.answer.set_exception(error)
            # Nobody may wait any more.
            command.answer.exception()
            return
        if command.first:
            command.first(reply)
        command.answer.set_result(reply)

    def _finish(self, command: Command, *, reply: Any = None, error: TrunklineError | None = None) -> None:
        del self._pending[command.id]
        self._answer_came(command)
        self._settle(command, reply=reply, error=error)
        if command.lane is None:
            return
        lane = self._lanes[command.lane]
        lane.remove(command)
        if not lane:
            del self._lanes[command.lane]
        for following in list(lane)[: command.width(self._pipeline)]:
            self._push(following)
