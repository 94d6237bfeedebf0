"""What a session is about: where a client is, how a session ends, and what an event is."""

from __future__ import annotations

from enum import Enum
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .values import Fields, TrunklineError


class State(Enum):
    """Where a client is."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"
    ONLINE = "online"
    WAITING = "waiting"
    CLOSED = "closed"


class Over(Exception):
    """A session or an attempt is over: when to come back, or why not."""

    def __init__(self, delay: float | None, code: int, reason: str, error: TrunklineError | None = None) -> None:
        super().__init__(reason)
        self.delay, self.code, self.reason, self.error = delay, code, reason, error


def socket_url(url: str) -> str:
    """Returns where the WebSocket of a gateway is."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss"):
        raise ValueError(f"{url} is no address of a gateway, such as wss://chat.example.org")
    return urlunsplit(parts._replace(scheme=scheme, path=parts.path if parts.path.strip("/") else "/v1/ws"))


class Event(dict[str, Any]):
    """An event: the fields of the push, and its position."""

    def __init__(self, fields: Fields, pos: str | None) -> None:
        super().__init__(fields)
        #: The position behind the event; ``None`` for what is not stored, such as typing.
        self.pos = pos
