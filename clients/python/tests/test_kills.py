"""The gateway is killed and started again 20 times within a minute of traffic."""

from __future__ import annotations

import asyncio
import random
import unittest
from typing import Any

from trunkline_client import Event, State, Trunkline, TrunklineError, conversation_of

from gateway import PROGRAM, Gateway, until

KILLS = 20
BETWEEN = 1.2
EACH = 0.02


class Device:
    """A device, with the messages that it got in their order."""

    def __init__(self, gateway: Gateway, user: str, name: str, is_slow: bool = False) -> None:
        self.client = Trunkline(gateway.url, user=user, device=name)
        self.got: list[Event] = []
        self.sessions = 0
        self.failed: list[Any] = []
        self._is_slow = is_slow
        self.client.on("message", self._take)
        self.client.on("connected", self._count)
        self.client.on("reset", self._fail)
        self.client.on("closed", self._fail)

    async def _take(self, message: Event) -> None:
        if self._is_slow:
            await asyncio.sleep(0.001)
        self.got.append(message)

    def _count(self, _: Any) -> None:
        self.sessions += 1

    def _fail(self, reason: Any) -> None:
        # The test itself closes the client.
        if getattr(reason, "kind", None) != "closed":
            self.failed.append(reason)

    def of(self, conversation: str, user: str) -> list[Event]:
        return [one for one in self.got if (one["conversation"], one["from"]) == (conversation, user)]


async def traffic(
    device: Device, stop: asyncio.Event, user: str | None = None, group: str | None = None
) -> list[tuple[str, int]]:
    """Sends numbered messages until told to stop. Returns them with their sequences."""
    sent: list[asyncio.Task[dict[str, Any]]] = []
    while not stop.is_set():
        message = device.client.send(user=user, group=group, text=str(len(sent) + 1))
        sent.append(asyncio.create_task(message))
        await asyncio.sleep(EACH)
    return [(str(number + 1), reply["seq"]) for number, reply in enumerate(await asyncio.gather(*sent))]


@unittest.skipUnless(PROGRAM, "TRUNKLINE_BIN names no gateway")
class Kills(unittest.IsolatedAsyncioTestCase):
    async def test_each_message_comes_once_in_order_and_none_is_lost(self) -> None:
        gateway = await Gateway().start()
        alice, laptop, bob, carol = devices = [
            Device(gateway, "alice", "phone"),
            Device(gateway, "alice", "laptop", is_slow=True),
            Device(gateway, "bob", "phone"),
            Device(gateway, "carol", "phone"),
        ]
        try:
            await asyncio.gather(*(device.client.start() for device in devices))
            await alice.client.group_create("eng", members=["bob", "carol"])
            stop = asyncio.Event()
            streams = [
                asyncio.create_task(traffic(alice, stop, user="bob")),
                asyncio.create_task(traffic(bob, stop, user="alice")),
                asyncio.create_task(traffic(carol, stop, group="eng")),
            ]
            for kill in range(KILLS):
                await asyncio.sleep(BETWEEN * (0.5 + random.random()))
                await gateway.kill()
                await gateway.start()
                # One device is back, others may not be.
                await until("a session after the start", lambda: bob.sessions > kill + 1)
                # Who runs the tests sees that they go on.
                print(f"start {kill + 1} of {KILLS}", flush=True)
            await until("sessions", lambda: all(one.client.state is State.ONLINE for one in devices))
            stop.set()
            by_alice, by_bob, by_carol = await asyncio.wait_for(asyncio.gather(*streams), 60)

            pair = conversation_of("alice", "bob")
            for who, conversation, user, expected in [
                (bob, pair, "alice", by_alice),
                (laptop, pair, "alice", by_alice),
                (alice, pair, "bob", by_bob),
                (laptop, pair, "bob", by_bob),
                (alice, "g:eng", "carol", by_carol),
                (bob, "g:eng", "carol", by_carol),
                (laptop, "g:eng", "carol", by_carol),
            ]:
                await until(f"the last message of {user}", lambda: len(who.of(conversation, user)) >= len(expected))
                self.assertEqual([(one["text"], one["seq"]) for one in who.of(conversation, user)], expected)
            # What a call has told comes as no event to the device that sent it.
            self.assertEqual(alice.of(pair, "alice") + bob.of(pair, "bob") + carol.of("g:eng", "carol"), [])
            for device in devices:
                for conversation in (pair, "g:eng"):
                    sequences = [one["seq"] for one in device.got if one["conversation"] == conversation]
                    self.assertEqual(sequences, sorted(sequences))
            # The store has them once each.
            last = (await alice.client.history(pair, limit=1))["last"]
            self.assertEqual(last, len(by_alice) + len(by_bob))
            self.assertGreaterEqual(bob.sessions, KILLS)
            self.assertEqual([device.failed for device in devices], [[]] * 4)
        finally:
            for device in devices:
                await device.client.close()
            await gateway.remove()

    async def test_a_closed_client_says_so(self) -> None:
        gateway = await Gateway().start()
        try:
            async with Trunkline(gateway.url, user="alice", device="phone") as alice:
                sent = await alice.send(user="bob", text="hello")
                self.assertEqual((sent["conversation"], sent["seq"]), ("u:alice:bob", 1))
                with self.assertRaises(TrunklineError) as refused:
                    await alice.get("u:bob:carol", 1)
                self.assertEqual((refused.exception.code, refused.exception.kind), (103, "permission_denied"))
            with self.assertRaises(TrunklineError) as closed:
                await alice.send(user="bob", text="hello")
            self.assertEqual(closed.exception.kind, "closed")
        finally:
            await gateway.remove()


if __name__ == "__main__":
    unittest.main()
