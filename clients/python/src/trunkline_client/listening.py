"""Listeners for events, and the tasks in which they run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar, overload

from .session import State
from .shapes import (
    Delete,
    Edit,
    GroupChange,
    Message,
    Presence,
    Publication,
    Reaction,
    Recall,
    Receipt,
    Settings,
    Signal,
    Typing,
)
from .values import TrunklineError

#: A listener: a function or a coroutine function. Events wait until it is done.
Listener = Callable[[Any], object]

E = TypeVar("E")

#: A listener of one kind of event.
Of = Callable[[E], object]


class Listening:
    """The listeners of a client."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self._background: set[asyncio.Task[Any]] = set()

    @overload
    def on(self, event: Literal["message"], listener: Of[Message]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["edit"], listener: Of[Edit]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["receipt"], listener: Of[Receipt]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["recall"], listener: Of[Recall]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["delete"], listener: Of[Delete]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["reaction"], listener: Of[Reaction]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["group"], listener: Of[GroupChange]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["settings"], listener: Of[Settings]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["presence"], listener: Of[Presence]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["typing"], listener: Of[Typing]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["signal"], listener: Of[Signal]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["publication"], listener: Of[Publication]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["state"], listener: Of[State]) -> Callable[[], None]: ...
    @overload
    def on(self, event: Literal["closed"], listener: Of[TrunklineError]) -> Callable[[], None]: ...
    @overload
    def on(
        self,
        event: Literal[
            "connected", "caught_up", "disconnected", "renewed", "reset", "unsubscribed", "resubscribed", "error"
        ],
        listener: Listener,
    ) -> Callable[[], None]: ...
    def on(self, event: str, listener: Of[Any]) -> Callable[[], None]:
        """Calls ``listener`` for each event of a kind, in their order. Returns a function that ends this."""
        self._listeners.setdefault(event, []).append(listener)
        return lambda: self._listeners[event].remove(listener)

    def _tell(self, event: str, value: Any) -> None:
        """Calls the listeners of an event of the session, after the events before."""
        for listener in list(self._listeners.get(event, ())):
            try:
                done = listener(value)
            except Exception as error:
                self._report(error)
                continue
            if inspect.isawaitable(done):
                self._spawn(done)

    async def _call(self, event: str, value: Any) -> None:
        """Calls the listeners of an event, and waits until they are done. One that fails harms nobody else."""
        for listener in list(self._listeners.get(event, ())):
            try:
                done = listener(value)
                if inspect.isawaitable(done):
                    await done
            except asyncio.CancelledError as error:
                # The client ends this task when it closes. Something that the listener waited for may be
                # cancelled at any time.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._report(error)
            except Exception as error:
                self._report(error)

    def _report(self, error: BaseException) -> None:
        text = "a listener of the Trunkline client failed"
        asyncio.get_running_loop().call_exception_handler({"message": text, "exception": error})

    def _spawn(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._background.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._background.discard(task)
            if not task.cancelled() and (error := task.exception()):
                self._report(error)

        task.add_done_callback(ended)
