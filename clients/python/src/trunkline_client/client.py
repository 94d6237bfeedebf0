"""The client: the life of its connection, and the commands of the protocol."""

from __future__ import annotations

import asyncio
import inspect
import json
import random
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from .calls import Calls
from .commands import Commands
from .delays import Delays
from .events import Events
from .listening import Listening
from .marks import Marks
from .session import Event, Over, State, socket_url
from .shapes import SHAPES, Presence
from .values import Fields, TrunklineError, local_error

#: How long an attempt to connect may take, in seconds, and how long the program may take for a token before it.
ATTEMPT = 10.0

#: After how long a silence the client asks whether the gateway is there, and how long it waits for the answer.
SILENCE, ANSWER = 25.0, 10.0

#: The most publications of a topic that wait for the reply to ``subscribe``. The gateway keeps 100 by default.
HELD = 200

#: The most users in a ``presence`` of this client. The gateway allows 1,000.
WATCHED = 500

#: Close codes that a client causes by what it sent. A session that ends with one does not prove that all is well.
OWN_FAULTS = frozenset((1002, 1003, 1007, 1008, 1009))

#: A token, or what returns one.
Token = str | Callable[[], str | Awaitable[str]]


class Trunkline(Listening, Calls):
    """A client of one user on one device.

    Use it as ``async with Trunkline(…) as trunkline``, or call :meth:`start` and :meth:`close`.

    :param url: ``ws://…``, ``wss://…``, or the address of the gateway with ``http://`` or ``https://``
    :param token: the token, or a function that returns one; it is asked again before the token expires
    :param user: the user, in development mode
    :param since: the ``position`` of an earlier client: what was missed since then comes first
    :param resume: without ``since``: goes on from the position that the gateway keeps for ``device``
    :param acknowledge: whether messages count as delivered once their listeners are done
    :param pipeline: how many messages of a conversation may be on their way at a time
    :param max_pending: how many commands may be without an answer
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        user: str | None = None,
        namespace: str | None = None,
        device: str | None = None,
        since: str | None = None,
        resume: bool = False,
        acknowledge: bool = True,
        pipeline: int = 1,
        max_pending: int = 1_000,
        chance: Callable[[], float] = random.random,
        **options: Any,
    ) -> None:
        Listening.__init__(self)
        Calls.__init__(self)
        if token is None and user is None:
            raise TypeError("say who connects: token, or user in development mode")
        self._url = socket_url(url)
        self._token = token
        self._user = user
        self._who = {"user": user, "namespace": namespace, "device": device}
        self._resume = resume
        self._acknowledge = acknowledge
        self._chance = chance
        self._options = options
        self._delays = Delays(chance)
        self._commands = Commands(pipeline, max_pending, chance, self._write_text)
        self._marks = Marks(self._write_ack)
        self._events = Events(since, _Parts(self))
        self._state = State.CONNECTING
        self._socket: ClientConnection | None = None
        # As long as commands without an answer, and marks, allow.
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._session: Fields | None = None
        self._sessions = 0
        self._greeting_id = 0
        self._refusal: TrunklineError | None = None
        self._disconnect: Fields | None = None
        self._is_recovering = False
        self._opened: asyncio.Future[Fields] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._renewal: asyncio.Task[None] | None = None

    # What there is to know.

    @property
    def state(self) -> State:
        """Where the client is."""
        return self._state

    @property
    def session(self) -> Fields | None:
        """The reply to the last ``connect``; ``None`` before the first."""
        return self._session

    @property
    def user(self) -> str | None:
        """The name of the user; ``None`` before the first session of a client with tokens."""
        return self._session["user"] if self._session else self._user

    @property
    def position(self) -> str | None:
        """The position behind the last event that was handed over. Keep it, and give it to the next client as ``since``."""
        return self._events.position

    @property
    def pending(self) -> int:
        """The number of commands without an answer."""
        return len(self._commands)

    # The life of the client.

    async def start(self) -> Fields:
        """Starts the client and waits for its first session.

        :raises TrunklineError: the gateway refuses the client for good
        """
        if not self._tasks:
            self._opened = asyncio.get_running_loop().create_future()
            self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._events.run())]
        return await self.connected()

    async def connected(self) -> Fields:
        """Waits for a session, and returns the reply to ``connect``."""
        assert self._opened is not None, "call start first"
        return await asyncio.shield(self._opened)

    async def close(self) -> None:
        """Ends the session in order. Commands without an answer fail."""
        await self._end(local_error("closed", "the client was closed"))
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def __aenter__(self) -> Trunkline:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _live(self) -> None:
        """Connects again and again until the client is closed."""
        while self._state is not State.CLOSED:
            self._enter(State.CONNECTING)
            self._disconnect = self._refusal = None
            try:
                await self._attempt_safely()
            except Over as over:
                if over.delay is None:
                    error = over.error or local_error(
                        "refused", f"the gateway ended the session with code {over.code}: {over.reason or 'it gave no reason'}"
                    )
                    return await self._end(error)
                self._enter(State.WAITING)
                self._tell("disconnected", {"code": over.code, "reason": over.reason, "retry": over.delay})
                await asyncio.sleep(over.delay)

    async def _attempt_safely(self) -> None:
        try:
            await self._attempt()
        except (Over, asyncio.CancelledError):
            raise
        except Exception as error:
            # The gateway said what it should not, or there is a fault here: the next session may be well.
            self._report(error)
            raise Over(self._delays.next(), 0, str(error)) from error

    async def _attempt(self) -> None:
        """Lives one session. Ends with :class:`Over`."""
        try:
            token = await self._ask_token()
        except Exception as error:
            self._tell("error", error)
            raise Over(self._delays.next(), 0, "there is no token") from error
        try:
            socket = await connect(
                self._url,
                subprotocols=[Subprotocol("trunkline.v1.json")],
                compression=None,
                max_size=None,
                open_timeout=ATTEMPT,
                ping_interval=SILENCE,
                ping_timeout=ANSWER,
                **self._options,
            )
        except InvalidStatus as error:
            after = error.response.headers.get("Retry-After", "")
            if error.response.status_code == 503 and after.isdigit():
                raise Over(self._delays.unavailable(int(after)), 503, str(error)) from error
            raise Over(self._delays.next(), error.response.status_code, str(error)) from error
        except (OSError, EOFError, asyncio.TimeoutError, ConnectionClosed) as error:
            raise Over(self._delays.next(), 0, str(error)) from error
        except Exception as error:
            # An address or a certificate that cannot be used now may be usable later.
            self._tell("error", error)
            raise Over(self._delays.next(), 0, str(error)) from error
        self._socket, self._outgoing = socket, asyncio.Queue()
        writer = asyncio.create_task(self._writing(socket, self._outgoing))
        try:
            await self._talk(socket, token)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
            raise self._lost(code, closed.rcvd.reason if closed.rcvd else str(closed)) from closed
        finally:
            writer.cancel()
            if self._renewal and self._renewal is not asyncio.current_task():
                self._renewal.cancel()
            self._socket = None
            self._events.lose()
            self._marks.lose()
            self._commands.lose()
            self._leave_later(socket)

    def _leave_later(self, socket: ClientConnection) -> None:
        """Closes a connection without waiting for its other end."""
        self._spawn(socket.close())

    def _lost(self, code: int, reason: str) -> Over:
        told = self._disconnect or {}
        reason = reason or told.get("reason", "")
        if code == 3505:
            comes_back = callable(self._token)
        else:
            comes_back = told.get("reconnect", not 3500 <= code <= 3999)
        if not comes_back:
            return Over(None, code, reason, self._refusal)
        if self._is_open and code not in OWN_FAULTS:
            self._delays.begin()
        delay = self._delays.told(told["delay_ms"]) if told.get("delay_ms") else self._delays.next()
        return Over(delay, code, reason)

    async def _end(self, error: TrunklineError) -> None:
        if self._state is State.CLOSED:
            return
        # The gateway keeps what it reads before the Close frame.
        if self._is_open:
            self._marks.tell()
        socket = self._socket
        for _ in range(self._outgoing.qsize() + 2):
            # The writer gets its turn.
            await asyncio.sleep(0)
        for task in (self._renewal, *self._tasks[:1]):
            if task and task is not asyncio.current_task():
                task.cancel()
        self._enter(State.CLOSED)
        self._commands.end(error)
        self._marks.forget()
        if self._opened:
            if self._opened.done():
                self._opened = asyncio.get_running_loop().create_future()
            self._opened.set_exception(error)
            # Nobody may wait.
            self._opened.exception()
        self._tell("closed", error)
        self._events.end()
        if socket:
            try:
                await asyncio.wait_for(socket.close(), 1)
            except (asyncio.TimeoutError, ConnectionClosed):
                pass

    # Talking to the gateway.

    @property
    def _is_open(self) -> bool:
        return self._state in (State.ONLINE, State.CATCHING_UP)

    def _enter(self, state: State) -> None:
        if self._state not in (state, State.CLOSED):
            self._state = state
            if self._opened and not self._is_open and self._opened.done() and state is not State.CLOSED:
                self._opened = asyncio.get_running_loop().create_future()
            self._tell("state", state)

    async def _ask_token(self) -> str | None:
        if not callable(self._token):
            return self._token
        token = self._token()
        if not inspect.isawaitable(token):
            return token
        try:
            async with asyncio.timeout(ATTEMPT) as limit:
                return await token
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"the function token did not answer within {ATTEMPT} s") from None

    def _write_text(self, text: str) -> None:
        if self._socket:
            self._outgoing.put_nowait(text)

    def _write(self, message: Fields) -> int:
        number = self._commands.take_id()
        self._write_text(json.dumps({"id": number, **message}, ensure_ascii=False))
        return number

    def _write_ack(self, fields: Fields) -> int | None:
        return self._write({"ack": fields}) if self._is_open else None

    async def _send(self, socket: ClientConnection, text: str) -> None:
        try:
            await socket.send(text)
        except ConnectionClosed:
            # The reader learns of it too.
            pass

    async def _writing(self, socket: ClientConnection, outgoing: asyncio.Queue[str]) -> None:
        while True:
            await self._send(socket, await outgoing.get())

    async def _talk(self, socket: ClientConnection, token: str | None) -> None:
        fields = {**self._who, "token": token, "since": self.position, "batch": True}
        if self._resume and self.position is None:
            fields["resume"] = True
        self._greet(fields)
        try:
            async with asyncio.timeout(ATTEMPT):
                while not self._is_open:
                    self._read(await socket.recv(), fields)
        except TimeoutError:
            raise self._lost(1006, "the gateway did not answer in time") from None
        while True:
            self._read(await socket.recv(), fields)

    def _greet(self, fields: Fields) -> None:
        self._greeting_id = self._write({"connect": {name: value for name, value in fields.items() if value is not None}})

    def _read(self, frame: str | bytes, asked: Fields) -> None:
        for line in frame.splitlines() if isinstance(frame, bytes) else frame.split("\n"):
            if not line:
                continue
            message = json.loads(line)
            if "push" in message:
                self._pushed(message["push"])
            elif message.get("id") == self._greeting_id:
                self._greeted(message, asked)
            elif not self._commands.answer(message) and not self._marks.answer(message):
                error = message.get("error")
                if error and error.get("limit") != "typing":
                    self._tell("error", TrunklineError(error))

    def _greeted(self, message: Fields, asked: Fields) -> None:
        error, session = message.get("error"), message.get("connect")
        if self._is_open:
            return self._renewed(session, error)
        if error and error["code"] == 112:
            self._forget(error["message"])
            asked.update(since=None, resume=None)
            return self._greet(asked)
        if error:
            self._refusal = TrunklineError(error)
            self._tell("error", self._refusal)
            if error.get("temporary"):
                delay = max(self._delays.next(), error.get("retry_ms", 0) / 1000)
                raise Over(delay, 0, error["message"])
            # After these the gateway closes, and the code says whether to come back.
            if error["code"] not in (101, 109):
                raise Over(None, 0, error["message"], self._refusal)
            return
        assert session is not None
        if asked.get("resume") and not session["recovered"]:
            self._forget("the gateway keeps no position of this device")
        self._session = session
        self._sessions += 1
        self._is_recovering = session["recovered"]
        if not session["recovered"]:
            self._events.move(session["pos"])
        self._renew_later(session)
        self._enter(State.CATCHING_UP if session["recovered"] else State.ONLINE)
        self._tell("connected", session)
        if self._opened and not self._opened.done():
            self._opened.set_result(session)
        self._commands.begin(session["limits"]["message_bytes"])
        self._marks.begin()
        if self._sessions > 1:
            self._listen_again()

    def _forget(self, reason: str) -> None:
        """Forgets what belongs to a history that is no more."""
        self._events.forget()
        self._marks.forget()
        self._topics = dict.fromkeys(self._topics)
        self._tell("reset", {"reason": reason})

    def _listen_again(self) -> None:
        """Watches and subscribes again."""
        watched = list(self._watched)
        for begin in range(0, len(watched), WATCHED):
            self._again("presence", {"watch": watched[begin : begin + WATCHED]}, self._watches)
        for topic, since in self._topics.items():
            self._behind.setdefault(topic, [])
            self._again("subscribe", {"topic": topic, "since": since}, partial(self._resubscribed, topic, since))

    def _again(self, name: str, fields: Fields, first: Callable[[Fields], None]) -> None:
        async def ask() -> None:
            try:
                await self._commands.run(name, fields, is_once=True, first=first)
            except TrunklineError as error:
                if error.kind not in ("connection_lost", "closed"):
                    self._release(fields.get("topic", ""))
                    self._tell("error", error)

        self._spawn(ask())

    def _watches(self, reply: Fields) -> None:
        for user in reply["users"]:
            self._tell("presence", Presence(user, None))

    def _resubscribed(self, topic: str, since: str | None, reply: Fields) -> None:
        if topic not in self._topics:
            return
        self._tell("resubscribed", {"topic": topic, **reply})
        self._subscribed(topic, reply, since)

    def _renew_later(self, session: Fields) -> None:
        if self._renewal and self._renewal is not asyncio.current_task():
            self._renewal.cancel()
        if "expires" in session and callable(self._token):
            left = (session["expires"] - session["time"]) / 1000
            # Early enough to try again, and not all clients of a moment at once.
            self._renew_in(left - min(left / 5, 60) * (1 + self._chance()))

    def _renew_in(self, delay: float) -> None:
        async def renew() -> None:
            await asyncio.sleep(max(delay, 0))
            try:
                token = await self._ask_token()
            except Exception as error:
                self._tell("error", error)
                return self._renew_in(1 + 4 * self._chance())
            if self._is_open:
                self._greet({"token": token})

        self._renewal = asyncio.create_task(renew())

    def _renewed(self, session: Fields | None, error: Fields | None) -> None:
        if session is None or self._session is None:
            failed = error or {}
            if failed.get("code") != 111:
                self._tell("error", TrunklineError(failed))
            return self._renew_in(failed["retry_ms"] / 1000 if "retry_ms" in failed else 1 + 4 * self._chance())
        self._session = {**self._session, "time": session["time"], "expires": session.get("expires")}
        self._renew_later(session)
        for topic in session.get("unsubscribed", ()):
            self._topics.pop(topic, None)
            self._behind.pop(topic, None)
            self._tell("unsubscribed", {"topic": topic})
        self._tell("renewed", self._session)

    # Events.

    def _pushed(self, push: Fields) -> None:
        pos = push.get("pos")
        [kind] = (name for name in push if name != "pos")
        event = push[kind]
        if kind == "gap":
            for topic in self._topics:
                self._behind.setdefault(topic, [])
            self._enter(State.CATCHING_UP)
            self._events.miss()
        elif kind == "caught_up":
            self._is_recovering = False
            self._events.then(event["pos"], self._caught_up)
        elif kind == "disconnect":
            self._disconnect = event
        elif kind == "publication":
            self._published(event)
        else:
            self._events.take(kind, event, pos)

    def _published(self, event: Fields) -> None:
        topic = event["topic"]
        held = self._behind.get(topic)
        if held is not None:
            if len(held) < HELD:
                held.append(event)
        elif self._events.take("publication", event):
            if topic in self._topics:
                self._topics[topic] = event["pos"]
        elif topic in self._topics:
            # Once there is room again, the client subscribes again.
            self._behind[topic] = [event]
            self._events.miss()

    def _release(self, topic: str) -> None:
        """Hands over what waits of a topic."""
        for event in self._behind.pop(topic, ()):
            self._published(event)

    def _subscribed(self, topic: str, reply: Fields, since: str | None = None) -> None:
        recovered = reply["recovered"]
        # What was missed follows, with what waits, and moves the position.
        if recovered:
            self._behind.pop(topic, None)
        else:
            self._release(topic)
        self._topics[topic] = (since if recovered else None) or reply["pos"]

    async def _caught_up(self) -> None:
        """Everything that was missed was handed over."""
        if self._is_open and not self._is_recovering and not self._events.is_filling:
            self._enter(State.ONLINE)
            await self._call("caught_up", {"pos": self.position})

    # What the commands need.

    async def _run(self, name: str, fields: Fields, **how: Any) -> Any:
        if self._state is State.CLOSED:
            raise local_error("closed", "the client is closed")
        return await self._commands.run(name, fields, **how)

    async def _send_message(self, fields: Fields, lane: str) -> Any:
        return await self._run("send", fields, lane=lane, first=self._events.sent)

    def ack(self, conversation: str, *, delivered: int = 0, read: int = 0) -> None:
        """Moves the own marks in a conversation. Marks of a moment travel together; nothing has to be waited for."""
        if self._state is not State.CLOSED:
            self._marks.move(conversation, delivered, read)

    def typing(self, conversation: str, *, stop: bool = False) -> None:
        """Says that the user is writing, or has stopped without sending. Lost without a session."""
        if self._is_open:
            self._write_text(json.dumps({"typing": {"conversation": conversation, **({"stop": True} if stop else {})}}))


class _Parts:
    """What the events need of the client."""

    def __init__(self, client: Trunkline) -> None:
        self._client = client

    async def tell(self, kind: str, event: Fields, pos: str | None) -> None:
        client = self._client
        if client._state is State.CLOSED:
            return
        if kind == "caught_up":
            await client._caught_up()
            return client._listen_again()
        await client._call(kind, SHAPES.get(kind, Event)(event, pos))
        if kind == "message" and client._acknowledge and not self.is_own(event["from"]):
            client.ack(event["conversation"], delivered=event["seq"])

    async def fetch(self, since: str) -> Fields:
        page: Fields = await self._client._run("sync", {"since": since}, is_once=True)
        return page

    def is_own(self, user: str) -> bool:
        return user == self._client.user

    def sends(self, key: str) -> bool:
        return self._client._commands.sends(key)

    def failed(self, error: Exception) -> None:
        # The next session has what is missing, or says that it has expired.
        self._client._tell("error", error)
        if socket := self._client._socket:
            self._client._leave_later(socket)
