"""Small things that all parts of the client use: errors, names, keys, and a dictionary that forgets."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Any, TypeVar

#: An object of the protocol.
Fields = dict[str, Any]

#: The most entries of a dictionary that forgets what was entered first.
REMEMBERED = 10_000

K = TypeVar("K")
V = TypeVar("V")


class TrunklineError(Exception):
    """An error of the gateway, or of the connection to it."""

    def __init__(self, error: Fields, unknown: bool = False) -> None:
        super().__init__(error["message"])
        #: The code of the protocol; 0 if the error is of this client.
        self.code: int = error["code"]
        #: The name of the code, such as ``permission_denied``.
        self.kind: str = error["name"]
        #: Whether the same command may succeed later.
        self.temporary: bool = error.get("temporary", False)
        #: The limit that was reached, with code 111.
        self.limit: str | None = error.get("limit")
        #: The seconds after which the command is within that limit again.
        self.retry: float = error.get("retry_ms", 0) / 1000
        #: Whether the command may have been carried out: the answer was lost.
        self.unknown = unknown

    def __str__(self) -> str:
        return f"{self.kind}: {self.args[0]}"


def local_error(name: str, message: str, unknown: bool = False) -> TrunklineError:
    """Returns an error of this client."""
    return TrunklineError({"code": 0, "name": name, "message": message}, unknown)


def conversation_of(one: str, other: str) -> str:
    """Returns the name of the conversation of two users."""
    return "u:" + ":".join(sorted((one, other), key=str.encode))


def random_key() -> str:
    """Returns a random key of 128 bits."""
    return secrets.token_hex(16)


class Recent(OrderedDict[K, V]):
    """A dictionary of at most 10,000 entries. It forgets what was entered first."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > REMEMBERED:
            self.popitem(last=False)
