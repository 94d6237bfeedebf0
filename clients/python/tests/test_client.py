"""What the client does with a gateway that is played here, step by step."""

from __future__ import annotations

import asyncio
import json
import unittest
import unittest.mock
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from trunkline_client import Edit, Event, State, Trunkline, TrunklineError, Typing, conversation_of
from trunkline_client.delays import Delays

LIMITS = {"message_bytes": 1_000, "text_bytes": 500, "key_bytes": 128, "page": 500}
SESSION = {
    "session": "0-1",
    "user": "alice",
    "device": "phone",
    "pos": "p-0",
    "recovered": False,
    "time": 1_000,
    "ping_ms": 25_000,
    "limits": LIMITS,
}


class Played:
    """A connection whose other end is the test."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self._commands: list[dict[str, Any]] = []
        self.over = asyncio.Event()

    async def say(self, *messages: dict[str, Any]) -> None:
        await self._socket.send("\n".join(map(json.dumps, messages)))

    async def hear(self, name: str) -> dict[str, Any]:
        """Waits for the next command of this name."""
        async with asyncio.timeout(20):
            while True:
                for command in self._commands:
                    if name in command:
                        self._commands.remove(command)
                        return command
                self._commands.append(json.loads(await self._socket.recv()))

    async def answer(self, name: str, reply: Any, key: str | None = None) -> Any:
        """Answers the next command of this name, and returns its fields."""
        command = await self.hear(name)
        await self.say({"id": command["id"], key or name: reply})
        return command[name]

    async def greet(self, **fields: Any) -> Any:
        return await self.answer("connect", {**SESSION, **fields})

    async def lose(self, code: int | None = None) -> None:
        """Ends the connection: with a Close frame, or without one."""
        if code is None:
            self._socket.transport.abort()
        else:
            await self._socket.close(code)
        self.over.set()


class Gateway:
    """A played gateway: connections in the order in which they came."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[Played] = asyncio.Queue()
        self.url = ""

    async def __aenter__(self) -> Gateway:
        protocols = [Subprotocol("trunkline.v1.json")]
        self._server = await serve(self._serve, "127.0.0.1", 0, subprotocols=protocols)
        [socket] = self._server.sockets
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request and socket.request.path == "/v1/ws"
        played = Played(socket)
        await self._came.put(played)
        await socket.wait_closed()

    async def next(self) -> Played:
        return await asyncio.wait_for(self._came.get(), 20)


def message(pos: str, seq: int, **more: Any) -> dict[str, Any]:
    fields = {"conversation": "u:alice:bob", "seq": seq, "from": "bob", "device": "phone", "time": 1, "text": str(seq)}
    return {"pos": pos, "message": {**fields, **more}}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


Body = Callable[[Gateway, Trunkline, list[int]], Coroutine[Any, Any, None]]


class Client(unittest.IsolatedAsyncioTestCase):
    async def play(self, body: Body, **options: Any) -> None:
        """Runs a test with a client whose waits are none, and the sequences of the messages that it got."""
        async with Gateway() as gateway:
            options = {"user": "alice", "device": "phone", "chance": lambda: 0.0, **options}
            client = Trunkline(gateway.url, **options)
            got: list[int] = []
            client.on("message", lambda event: got.append(event["seq"]))
            starting = asyncio.create_task(client.start())
            try:
                await body(gateway, client, got)
            finally:
                await client.close()
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)

    async def test_goes_on_from_its_position_and_repeats_sends_with_their_key(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            one = await gateway.next()
            self.assertEqual(await one.greet(), {"user": "alice", "device": "phone", "batch": True})
            await one.say({"push": message("p-1", 1)})
            sending = asyncio.create_task(client.send(user="bob", text="hello"))
            sent = (await one.hear("send"))["send"]
            await until(lambda: client.position == "p-1")
            await one.lose()
            two = await gateway.next()
            self.assertEqual((await two.greet(recovered=True, pos="p-1"))["since"], "p-1")
            # The message was stored: what was missed has it, and the call alone tells it.
            mine = message("p-2", 2, **{"from": "alice", "key": sent["key"]})
            caught_up = {"push": {"caught_up": {"pos": "p-3"}}}
            await two.say({"push": mine}, {"push": message("p-3", 3)}, caught_up)
            reply = {"conversation": "u:alice:bob", "seq": 2, "pos": "p-2", "time": 1, "duplicate": True}
            self.assertEqual(await two.answer("send", reply), sent)
            self.assertEqual((await sending)["seq"], 2)
            await until(lambda: client.state is State.ONLINE)
            self.assertEqual((got, client.position), ([1, 3], "p-3"))

        await self.play(body)

    async def test_fetches_what_a_gap_left_out_before_what_came_live(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            socket = await gateway.next()
            await socket.greet()
            await socket.say({"push": message("p-1", 1)}, {"push": {"gap": {"pos": "p-3"}}}, {"push": message("p-4", 4)})
            page = {"events": [message("p-2", 2)], "pos": "p-2", "more": True}
            self.assertEqual(await socket.answer("sync", page), {"since": "p-1"})
            page = {"events": [message("p-3", 3), message("p-4", 4)], "pos": "p-4", "more": False}
            self.assertEqual(await socket.answer("sync", page), {"since": "p-2"})
            await socket.say({"push": message("p-4", 4)}, {"push": message("p-5", 5)})
            await until(lambda: client.position == "p-5")
            self.assertEqual((got, client.state), ([1, 2, 3, 4, 5], State.ONLINE))

        await self.play(body)

    async def test_a_slow_program_gets_everything_from_a_queue_with_an_end(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            go_on = asyncio.Event()

            async def wait(_: Event) -> None:
                await go_on.wait()

            client.on("message", wait)
            socket = await gateway.next()
            await socket.greet()
            events = [message(f"p-{seq}", seq) for seq in range(1, 2_503)]
            for event in events[:2_500]:
                await socket.say({"push": event})
            pinging = asyncio.create_task(client.ping())
            await socket.answer("ping", {})
            await pinging
            go_on.set()
            # One was in hand and 2,000 waited when there was no more room.
            asked = await socket.answer("sync", {"events": events[2_001:], "pos": "p-2502", "more": False})
            self.assertEqual(asked, {"since": "p-2001"})
            await until(lambda: client.position == "p-2502")
            self.assertEqual(got, list(range(1, 2_503)))

        await self.play(body, acknowledge=False)

    async def test_begins_anew_where_its_history_is_no_more(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            reset: list[Any] = []
            client.on("reset", reset.append)
            socket = await gateway.next()
            error = {"code": 112, "name": "position_expired", "message": "expired", "temporary": False}
            self.assertEqual((await socket.answer("connect", error, "error"))["since"], "p-9")
            self.assertNotIn("since", await socket.greet(pos="q-1"))
            await client.connected()
            self.assertEqual((len(reset), client.position), (1, "q-1"))

        await self.play(body, since="p-9")

    async def test_keeps_the_order_when_a_message_is_refused_for_the_moment(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            socket = await gateway.next()
            await socket.greet()
            sending = asyncio.gather(*(client.send(user="bob", text=text) for text in "12"))
            refusal = {"code": 111, "name": "too_many_requests", "message": "no", "temporary": True, "retry_ms": 1}
            self.assertEqual((await socket.answer("send", refusal, "error"))["text"], "1")
            # A back end that has to be asked fails for the moment.
            refusal = {"code": 120, "name": "back_end_unavailable", "message": "no", "temporary": True}
            self.assertEqual((await socket.answer("send", refusal, "error"))["text"], "1")
            for seq, text in enumerate("12", 1):
                reply = {"conversation": "u:alice:bob", "seq": seq}
                self.assertEqual((await socket.answer("send", reply))["text"], text)
            self.assertEqual([reply["seq"] for reply in await sending], [1, 2])

        await self.play(body)

    async def test_what_cannot_be_written_holds_up_nothing(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            socket = await gateway.next()
            await socket.greet()
            for meta, error in ((object(), TypeError), (float("nan"), ValueError), ("\ud83d", ValueError)):
                with self.assertRaises(error):
                    await client.send(user="bob", text="1", meta={"at": meta})
            sending = asyncio.ensure_future(client.send(user="bob", text="2"))
            await socket.answer("send", {"conversation": "u:alice:bob", "seq": 1})
            self.assertEqual((await sending)["seq"], 1)

        await self.play(body)

    async def test_what_changes_one_thing_goes_one_after_another(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            socket = await gateway.next()
            await socket.greet()
            pair = "u:alice:bob"
            done = asyncio.gather(
                client.edit(pair, 1, text="1"), client.edit(pair, 1, text="2"), client.recall(pair, 1), client.ping()
            )
            refusal = {"code": 111, "name": "too_many_requests", "message": "no", "temporary": True, "retry_ms": 1}
            self.assertEqual((await socket.answer("edit", refusal, "error"))["text"], "1")
            # Nothing overtakes the edit that waits.
            await socket.answer("ping", {})
            for text in "12":
                self.assertEqual((await socket.answer("edit", {}))["text"], text)
            self.assertEqual(await socket.answer("recall", {}), {"conversation": pair, "seq": 1})
            await done

        await self.play(body)

    async def test_repeats_an_edit_whose_answer_was_lost(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            one = await gateway.next()
            await one.greet()
            editing = asyncio.create_task(client.edit("u:alice:bob", 1, text="new"))
            changing = asyncio.create_task(client.group_role("eng", "bob", "admin"))
            first = (await one.hear("edit"))["edit"]
            await one.hear("group_role")
            await one.lose()
            with self.assertRaises(TrunklineError) as lost:
                await changing
            self.assertEqual((lost.exception.kind, lost.exception.unknown), ("connection_lost", True))
            two = await gateway.next()
            await two.greet(recovered=True)
            self.assertEqual(await two.answer("edit", {}), first)
            await editing

        await self.play(body)

    async def test_events_have_typed_attributes(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            edits: list[Edit] = []
            writing: list[Typing] = []
            client.on("edit", edits.append)
            client.on("typing", writing.append)
            socket = await gateway.next()
            await socket.greet()
            edit = {"pos": "p-1", "edit": {**message("", 1)["message"], "key": "c-1", "edited": 5}}
            typing = {"typing": {"conversation": "u:alice:bob", "user": "bob", "stop": True, "expires_ms": 0}}
            await socket.say({"push": edit}, {"push": typing})
            await until(lambda: bool(writing))
            self.assertEqual((edits[0].key, edits[0].sender, edits[0].edited, edits[0].pos), ("c-1", "bob", 5, "p-1"))
            self.assertEqual((edits[0].media, edits[0]["text"]), (None, "1"))
            self.assertEqual((writing[0].stop, writing[0].expires_ms, writing[0].pos), (True, 0, None))
            client.typing("u:alice:bob", stop=True)
            self.assertEqual(await socket.hear("typing"), {"typing": {"conversation": "u:alice:bob", "stop": True}})

        await self.play(body)

    async def test_repeats_nothing_that_must_not_happen_twice(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            one = await gateway.next()
            await one.greet()
            asking = asyncio.create_task(client.rpc("orders.add", {}))
            reading = asyncio.create_task(client.history("u:alice:bob"))
            await one.hear("rpc")
            await one.hear("history")
            await one.lose()
            with self.assertRaises(TrunklineError) as lost:
                await asking
            self.assertEqual((lost.exception.kind, lost.exception.unknown), ("connection_lost", True))
            two = await gateway.next()
            await two.greet(recovered=True)
            await two.answer("history", {"messages": [], "first": 0, "last": 0, "more": False})
            self.assertEqual((await reading)["last"], 0)

        await self.play(body)

    async def test_leaves_no_task_behind_when_a_listener_closes_it(self) -> None:
        async with Gateway() as gateway:
            client = Trunkline(gateway.url, user="alice", device="phone")
            client.on("message", lambda event: client.close())
            starting = asyncio.create_task(client.start())
            socket = await gateway.next()
            await socket.greet()
            await starting
            await socket.say({"push": message("p-1", 1)})
            mine = {asyncio.current_task()}

            def names() -> list[str]:
                others = asyncio.all_tasks() - mine
                return [task.get_coro().__qualname__ for task in others]  # type: ignore[union-attr]

            await until(lambda: client.state is State.CLOSED)
            await until(lambda: not any(name.endswith("Events.run") for name in names()))

    async def test_bounds_what_waits_and_what_is_sent(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            socket = await gateway.next()
            await socket.greet()
            with self.assertRaises(TrunklineError) as long:
                await client.send(user="bob", text="é" * 500)
            self.assertEqual(long.exception.code, 106)
            waiting = asyncio.gather(*(client.send(user="bob", text="1") for _ in range(3)), return_exceptions=True)
            await socket.hear("send")
            await client.close()
            kinds = [error.kind for error in await waiting if isinstance(error, TrunklineError)]
            self.assertEqual(kinds, ["closed", "closed", "queue_full"])

        await self.play(body, max_pending=2)

    async def test_renews_its_token_and_drops_topics_that_it_lost(self) -> None:
        tokens = iter(["t-1", "t-2", "t-3"])

        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            lost: list[Any] = []
            client.on("unsubscribed", lost.append)
            socket = await gateway.next()
            self.assertEqual((await socket.greet(expires=1_300))["token"], "t-1")
            subscribing = asyncio.create_task(client.subscribe("live.42"))
            await socket.answer("subscribe", {"pos": "t-0", "recovered": False})
            await subscribing
            renewed = {"session": "0-1", "time": 1_040, "expires": 3_600_000, "unsubscribed": ["live.42"]}
            self.assertEqual(await socket.answer("connect", renewed), {"token": "t-2"})
            await until(lambda: bool(lost))
            self.assertEqual(lost, [{"topic": "live.42"}])

        await self.play(body, user=None, token=lambda: next(tokens))

    async def test_watches_and_subscribes_again(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            one = await gateway.next()
            await one.greet()
            asking = asyncio.gather(client.presence(watch=["bob"]), client.subscribe("live.42"))
            await one.answer("presence", {"users": [], "more": False})
            await one.answer("subscribe", {"pos": "t-1", "recovered": False})
            await asking
            await one.say({"push": {"publication": {"topic": "live.42", "data": 1, "from": "bob", "pos": "t-2"}}})
            published = asyncio.Event()
            client.on("publication", lambda _: published.set())
            await asyncio.wait_for(published.wait(), 20)
            await one.lose()
            two = await gateway.next()
            await two.greet(recovered=True)
            self.assertEqual(await two.answer("presence", {"users": [], "more": False}), {"watch": ["bob"]})
            subscribed = await two.answer("subscribe", {"pos": "t-2", "recovered": True})
            self.assertEqual(subscribed, {"topic": "live.42", "since": "t-2"})

        await self.play(body)

    async def test_loses_no_publication_behind_a_gap(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            seen: list[Any] = []
            client.on("publication", lambda event: seen.append(event["data"]))

            def published(number: int) -> dict[str, Any]:
                fields = {"topic": "live.42", "data": number, "from": "bob", "pos": f"t-{number}"}
                return {"push": {"publication": fields}}

            socket = await gateway.next()
            await socket.greet()
            subscribing = asyncio.create_task(client.subscribe("live.42"))
            await socket.answer("subscribe", {"pos": "t-0", "recovered": False})
            await subscribing
            await socket.say(published(1), {"push": {"gap": {"pos": "p-1"}}}, published(3))
            await socket.say({"push": {"signal": {"from": "bob", "data": 1}}})
            await socket.answer("sync", {"events": [], "pos": "p-1", "more": False})
            subscribed = await socket.answer("subscribe", {"pos": "t-4", "recovered": True})
            self.assertEqual(subscribed, {"topic": "live.42", "since": "t-1"})
            await socket.say(*map(published, range(2, 6)))
            await until(lambda: len(seen) >= 5)
            self.assertEqual(seen, [1, 2, 3, 4, 5])
            # The gateway has none any more of what was missed: what came is handed over, also after another session.
            client.on("resubscribed", lambda event: seen.append(event["recovered"]))
            await socket.say({"push": {"gap": {"pos": "p-2"}}}, published(300))
            pinging = asyncio.create_task(client.ping())
            await socket.answer("ping", {})
            await pinging
            await socket.lose()
            two = await gateway.next()
            await two.greet(recovered=True)
            lost = {"pos": "t-301", "recovered": False}
            self.assertEqual((await two.answer("subscribe", lost))["since"], "t-5")
            await two.say(published(302))
            await until(lambda: 302 in seen)
            self.assertEqual(seen[5:], [False, 300, 302])

        await self.play(body)

    async def test_publications_wait_for_a_slow_program_over_a_lost_session(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            seen: list[Any] = []
            go_on = asyncio.Event()

            async def wait(event: Event) -> None:
                await go_on.wait()
                seen.append(event["data"])

            client.on("publication", wait)

            def published(number: int) -> dict[str, Any]:
                fields = {"topic": "live.42", "data": number, "from": "bob", "pos": f"t-{number}"}
                return {"push": {"publication": fields}}

            one = await gateway.next()
            await one.greet()
            subscribing = asyncio.create_task(client.subscribe("live.42"))
            await one.answer("subscribe", {"pos": "t-0", "recovered": False})
            await subscribing
            await one.say(*map(published, range(1, 4)))
            pinging = asyncio.create_task(client.ping())
            await one.answer("ping", {})
            await pinging
            await one.lose()
            two = await gateway.next()
            await two.greet()
            subscribed = await two.answer("subscribe", {"pos": "t-4", "recovered": True})
            self.assertEqual(subscribed, {"topic": "live.42", "since": "t-3"})
            # 3 wait, and no more than 2,000 may.
            await two.say(*map(published, range(4, 2_101)))
            pinging = asyncio.create_task(client.ping())
            await two.answer("ping", {})
            await pinging
            go_on.set()
            await two.answer("sync", {"events": [], "pos": "p-1", "more": False})
            since = (await two.answer("subscribe", {"pos": "t-2100", "recovered": True}))["since"]
            await two.say(*map(published, range(int(since[2:]) + 1, 2_101)))
            await until(lambda: len(seen) >= 2_100)
            self.assertEqual(seen, list(range(1, 2_101)))

        await self.play(body)

    async def test_tries_again_what_the_gateway_was_too_busy_for_in_its_order(self) -> None:
        busy = {"code": 111, "name": "too_many_requests", "message": "no", "temporary": True, "retry_ms": 1}

        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            one = await gateway.next()
            await one.greet()
            changing = asyncio.gather(client.group_add("eng", ["bob"]), client.group_remove("eng", ["bob"]))
            await one.answer("group_add", busy, "error")
            await one.answer("group_add", {})
            await one.answer("group_remove", {})
            await changing
            asking = asyncio.create_task(client.rpc("orders.list", {}))
            # Nothing was done: the next session may ask.
            await one.answer("rpc", {**busy, "retry_ms": 60_000}, "error")
            pinging = asyncio.create_task(client.ping())
            await one.answer("ping", {})
            await pinging
            await one.lose()
            two = await gateway.next()
            await two.greet()
            await two.answer("rpc", {"data": 1})
            self.assertEqual(await asking, 1)
            # A publication would come behind later ones.
            publishing = asyncio.create_task(client.publish("live.42", 1))
            await two.answer("publish", busy, "error")
            with self.assertRaises(TrunklineError) as refused:
                await publishing
            self.assertEqual(refused.exception.code, 111)

        await self.play(body)

    async def test_does_not_wait_for_ever_for_a_token(self) -> None:
        asked: list[int] = []

        async def token() -> str:
            asked.append(1)
            if len(asked) == 1:
                await asyncio.Event().wait()
            return "t-1"

        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            self.assertEqual((await (await gateway.next()).greet())["token"], "t-1")

        with unittest.mock.patch("trunkline_client.client.ATTEMPT", 0.5):
            await self.play(body, user=None, token=token)
        self.assertEqual(len(asked), 2)

    async def test_renews_with_a_later_token_if_one_does_not_come(self) -> None:
        asked: list[int] = []

        async def token() -> str:
            asked.append(1)
            if len(asked) == 2:
                await asyncio.Event().wait()
            return f"t-{len(asked)}"

        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            socket = await gateway.next()
            self.assertEqual((await socket.greet(expires=1_300))["token"], "t-1")
            self.assertEqual((await socket.hear("connect"))["connect"], {"token": "t-3"})

        with unittest.mock.patch("trunkline_client.client.ATTEMPT", 0.5):
            await self.play(body, user=None, token=token)

    async def test_acknowledges_again_what_got_no_answer(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            one = await gateway.next()
            await one.greet()
            await one.say({"push": message("p-1", 1)}, {"push": message("p-2", 2)})
            await until(lambda: len(got) == 2)
            client.ack("u:alice:bob", read=1)
            marks = {"conversation": "u:alice:bob", "delivered": 2, "read": 1}
            # Marks of a moment travel together, but a busy machine may make two moments of it.
            while (await one.hear("ack"))["ack"] != marks:
                pass
            await one.lose()
            two = await gateway.next()
            await two.greet(recovered=True)
            self.assertEqual(await two.answer("ack", {}), marks)

        await self.play(body)

    async def test_close_codes(self) -> None:
        for code, push, comes_back in [
            (3001, {"reconnect": True, "delay_ms": [0, 1]}, True),
            (3500, None, False),
            (3503, {"reconnect": False}, False),
            (4000, {"reconnect": True, "delay_ms": [0, 1]}, True),
        ]:

            async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
                socket = await gateway.next()
                await socket.greet()
                if push:
                    await socket.say({"push": {"disconnect": {"code": code, "reason": "because", **push}}})
                await socket.lose(code)
                if comes_back:
                    await (await gateway.next()).greet(recovered=True)
                else:
                    await until(lambda: client.state is State.CLOSED)
                    with self.assertRaises(TrunklineError) as refused:
                        await client.connected()
                    self.assertEqual(refused.exception.kind, "refused")

            with self.subTest(code=code):
                await self.play(body)

    async def test_a_listener_that_fails_harms_nobody_else(self) -> None:
        async def body(gateway: Gateway, client: Trunkline, got: list[int]) -> None:
            failures: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
            client._listeners["message"].insert(0, lambda event: [].pop())

            async def cancelled(event: Event) -> None:
                raise asyncio.CancelledError

            client._listeners["message"].insert(1, cancelled)
            socket = await gateway.next()
            await socket.greet()
            await socket.say({"push": message("p-1", 1)}, {"push": message("p-2", 2)})
            await until(lambda: got == [1, 2])
            expected = [IndexError, asyncio.CancelledError] * 2
            self.assertEqual([type(error) for error in failures], expected)

        await self.play(body)


class Values(unittest.TestCase):
    def test_delays_grow(self) -> None:
        delays = Delays(lambda: 1.0)
        self.assertEqual([delays.next() for _ in range(8)], [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
        self.assertEqual(delays.told([100, 500]), 0.5)
        self.assertEqual([delays.next() for _ in range(5)], [0.2, 0.4, 0.8, 1.0, 1.0])
        self.assertEqual(delays.told([0, 30_000]), 30.0)
        self.assertEqual([delays.next() for _ in range(10)][-1], 30.0)
        self.assertEqual(delays.unavailable(2), 3.0)

    def test_names_of_conversations_are_sorted_bytewise(self) -> None:
        self.assertEqual(conversation_of("bob", "alice"), "u:alice:bob")
        self.assertEqual(conversation_of("a", "B"), "u:B:a")


if __name__ == "__main__":
    unittest.main()
