"""A conversation as it is now: its messages, with what events did to them, and how far its members have come."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from .values import Fields, Recent

#: What a message loses that was taken back, deleted, or has expired.
CONTENT = frozenset("text media meta kind mentions reactions more_reactions".split())

#: What events do to messages.
Change = Literal["edit", "recall", "delete", "reaction"]


class Marks(NamedTuple):
    """How far a member has come."""

    delivered: int = 0
    read: int = 0


class Fate(NamedTuple):
    """How far an own message has come. ``state`` is what all others have: ``sent`` if some have nothing."""

    state: Literal["sent", "delivered", "read"]
    delivered: int
    read: int
    others: int


def _is_gone(message: Fields) -> bool:
    return any(message.get(why) for why in ("recalled", "deleted", "expired"))


def _without(message: Fields, why: str) -> Fields:
    return {**{name: value for name, value in message.items() if name not in CONTENT}, why: True}


class Timeline:
    """The messages of one conversation in the order of their sequences.

    :meth:`put` takes messages, of events and of pages of ``history`` alike, and :meth:`apply` takes the events that change
    them, in any order of the two. Messages are never changed in place: one that is another object has changed.
    """

    def __init__(self, conversation: str) -> None:
        self.conversation = conversation
        #: The messages that are here, the oldest first.
        self.messages: list[Fields] = []
        #: How far members have come. At most 10,000 of them.
        self.marks: Recent[str, Marks] = Recent()
        #: What happened to messages that are not here. A page of before may still bring them as they were.
        self._unseen: Recent[int, dict[Change, Fields]] = Recent()

    def place(self, seq: int) -> int:
        """Returns the place of a sequence among the messages: where it is, or would be."""
        return bisect_left(self.messages, seq, key=lambda message: message["seq"])

    def at(self, seq: int) -> Fields | None:
        """Returns the message with a sequence, if it is here."""
        place = self.place(seq)
        found = self.messages[place] if place < len(self.messages) else None
        return found if found and found["seq"] == seq else None

    def put(self, message: Mapping[str, Any]) -> bool:
        """Takes a message. What is known of it later than it was written stays. Returns whether it was not here before."""
        seq = message["seq"]
        before = self.at(seq)
        now = dict(message) if before is None else _newer(before, dict(message))
        for kind, event in self._unseen.pop(seq, {}).items():
            now = _changed(now, kind, event) or now
        place = self.place(seq)
        self.messages[place : place + (before is not None)] = [now]
        return before is None

    def apply(self, kind: Change, event: Mapping[str, Any]) -> Fields | None:
        """Takes an event of this conversation. Returns the message as it is now; ``None`` if nothing that is here changes."""
        before = self.at(event["seq"])
        if before is None:
            if kind != "reaction":
                self._unseen[event["seq"]] = {**self._unseen.get(event["seq"], {}), kind: dict(event)}
            return None
        now = _changed(before, kind, dict(event))
        if now is not None:
            self.messages[self.place(event["seq"])] = now
        return now

    def expire(self, now: int) -> bool:
        """Takes the content of messages whose time is over. ``now``: the gateway's time, in milliseconds."""
        over = [
            place
            for place, message in enumerate(self.messages)
            if message.get("expires", now + 1) <= now and not _is_gone(message)
        ]
        for place in over:
            self.messages[place] = _without(self.messages[place], "expired")
        return bool(over)

    def mark(self, user: str, *, delivered: int = 0, read: int = 0) -> None:
        """Moves the marks of a member. They never go back."""
        before = self.marks.get(user, Marks())
        self.marks[user] = Marks(max(before.delivered, delivered, read), max(before.read, read))

    def fate(self, seq: int, members: int = 2) -> Fate:
        """Returns how many of the members other than the sender have a message, and what all of them have done."""
        others = max(members - 1, 1)
        delivered = sum(marks.delivered >= seq for marks in self.marks.values())
        read = sum(marks.read >= seq for marks in self.marks.values())
        state: Literal["sent", "delivered", "read"] = "sent"
        if delivered >= others:
            state = "read" if read >= others else "delivered"
        return Fate(state, delivered, read, others)

    def keep(self, count: int) -> None:
        """Forgets all messages but the newest ones."""
        del self.messages[: max(len(self.messages) - count, 0)]

    def clear(self) -> None:
        """Forgets everything: the history is another one."""
        self.messages.clear()
        self.marks.clear()
        self._unseen.clear()


def _newer(before: Fields, message: Fields) -> Fields:
    """Returns of two forms of a message the one that was made later."""
    if _is_gone(message):
        return message
    is_later = _is_gone(before) or before.get("edited", 0) > message.get("edited", 0)
    return before if is_later else message


def _changed(message: Fields, kind: Change, event: Fields) -> Fields | None:
    """Returns a message after an event; ``None`` if the event changes nothing."""
    if why := {"recall": "recalled", "delete": "deleted"}.get(kind):
        return None if message.get(why) else _without(message, why)
    if _is_gone(message):
        return None
    if kind == "reaction":
        return _reacted(message, event)
    # Two edits may have the same time: events come in their order.
    if message.get("edited", 0) > event["edited"]:
        return None
    # The event has the whole message but its reactions.
    kept: Fields = {name: message[name] for name in ("reactions", "more_reactions") if name in message}
    return {**event, **kept}


def _reacted(message: Fields, event: Fields) -> Fields | None:
    user, reaction, removed = event["user"], event["reaction"], event.get("removed", False)
    reactions = [{**one, "users": list(one["users"])} for one in message.get("reactions", ())]
    found = next((one for one in reactions if one["reaction"] == reaction), None)
    if found is None:
        if removed:
            return None
        found = {"reaction": reaction, "users": [], "count": 0, "more": False}
        reactions.append(found)
    has = user in found["users"]
    # Not all users of a reaction are listed: one who is not may have it all the same.
    if (not has and not found["more"]) if removed else has:
        return None
    if has:
        found["users"].remove(user)
    elif not removed:
        found["users"].append(user)
    found["count"] += -1 if removed else 1
    rest = {name: value for name, value in message.items() if name != "reactions"}
    left = [one for one in reactions if one["count"] > 0]
    return {**rest, "reactions": left} if left else rest
