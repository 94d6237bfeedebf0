"""The events by their kind, with typed attributes for the fields of the protocol. Each is a dictionary too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar, cast

from .session import Event

T = TypeVar("T")


class Given(Generic[T]):
    """A field that the event always has. ``name`` is its name in the protocol, if it is another one."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = self._name or name

    def __get__(self, event: Event, owner: type) -> T:
        return cast(T, event[self._name])


class Maybe(Generic[T]):
    """A field that may be missing: ``None`` then."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, event: Event, owner: type) -> T | None:
        return cast("T | None", event.get(self._name))


class Message(Event):
    """A message, or with :class:`Edit` what it is now."""

    conversation = Given[str]()
    seq = Given[int]()
    sender = Given[str]("from")
    device = Given[str]()
    time = Given[int]()
    key = Maybe[str]()
    text = Maybe[str]()
    media = Maybe[dict[str, Any]]()
    reply_to = Maybe[int]()
    kind = Maybe[str]()
    meta = Maybe[Any]()
    mentions = Maybe[list[str]]()
    expires = Maybe[int]()
    expired = Maybe[bool]()
    edited = Maybe[int]()
    recalled = Maybe[bool]()
    deleted = Maybe[bool]()
    too_large = Maybe[bool]()


class Edit(Message):
    """A message was edited: the whole message as it is now, without its reactions."""


class Receipt(Event):
    """A member has received or read more."""

    conversation = Given[str]()
    user = Given[str]()
    delivered = Given[int]()
    read = Given[int]()
    time = Given[int]()


class Recall(Event):
    """A message was taken back."""

    conversation = Given[str]()
    seq = Given[int]()
    by = Given[str]()
    time = Given[int]()


class Delete(Event):
    """The user deleted a message in the own view."""

    conversation = Given[str]()
    seq = Given[int]()
    time = Given[int]()


class Reaction(Event):
    """Somebody reacted to a message, or took that back."""

    conversation = Given[str]()
    seq = Given[int]()
    user = Given[str]()
    reaction = Given[str]()
    removed = Given[bool]()
    time = Given[int]()


class GroupChange(Event):
    """A group changed. Skip a ``change`` that you do not know."""

    conversation = Given[str]()
    change = Given[
        Literal["created", "renamed", "added", "removed", "left", "joined", "role", "set", "pinned", "unpinned"]
    ]()
    by = Given[str]()
    members = Given[list[str]]()
    time = Given[int]()
    name = Maybe[str]()
    role = Maybe[Literal["member", "admin", "owner"]]()
    picture = Maybe[str]()
    send = Maybe[Literal["all", "admins"]]()
    join = Maybe[Literal["invite", "open"]]()
    seq = Maybe[int]()


class Settings(Event):
    """The user's own settings of a conversation, as another device made them."""

    conversation = Given[str]()
    muted_until = Given[int]()
    pinned = Given[bool]()
    archived = Given[bool]()
    time = Given[int]()


class Presence(Event):
    """A watched user went on- or offline."""

    user = Given[str]()
    online = Given[bool]()
    devices = Given[int]()
    last_seen = Maybe[int]()


class Typing(Event):
    """Somebody is writing, for ``expires_ms`` from now on, or has stopped."""

    conversation = Given[str]()
    user = Given[str]()
    stop = Maybe[bool]()
    expires_ms = Given[int]()


class Signal(Event):
    """A user handed something over."""

    user = Given[str]()
    data = Given[Any]()


class Publication(Event):
    """Something was published to a topic. ``place`` is the topic's position after it."""

    topic = Given[str]()
    data = Given[Any]()
    sender = Maybe[str]()
    place = Given[str]("pos")


#: The class of each kind of event.
SHAPES: dict[str, Callable[[dict[str, Any], str | None], Event]] = {
    "message": Message,
    "edit": Edit,
    "receipt": Receipt,
    "recall": Recall,
    "delete": Delete,
    "reaction": Reaction,
    "group": GroupChange,
    "settings": Settings,
    "presence": Presence,
    "typing": Typing,
    "signal": Signal,
    "publication": Publication,
}
