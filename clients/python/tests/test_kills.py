"""The gateway is killed and started again 20 times within a minute of traffic, while tokens are renewed."""

from __future__ import annotations

import asyncio
import random
import unittest
from collections import defaultdict
from typing import Any, NamedTuple

from trunkline_client import Edit, Message, State, Timeline, Trunkline, TrunklineError, conversation_of

from gateway import PROGRAM, Gateway, token, until

KILLS = 20
BETWEEN = 1.2
EACH = 0.02

#: The most commands of a device that wait: a busy machine carries out fewer than come.
WAITING = 200

#: Every so many messages one is edited, twice.
EDITED = 5

#: How long a token is good, in seconds: most sessions renew theirs.
TOKEN = 1.0


class Views(defaultdict[str, Timeline]):
    """The conversations as a device sees them."""

    def __missing__(self, conversation: str) -> Timeline:
        self[conversation] = Timeline(conversation)
        return self[conversation]


class Device:
    """A device, with the messages that it got in their order."""

    def __init__(self, gateway: Gateway, user: str, name: str, is_slow: bool = False) -> None:
        self.client = Trunkline(gateway.url, token=lambda: token(user, TOKEN), device=name)
        self.got: list[Message] = []
        self.views = Views()
        self.sessions = self.renewals = 0
        self.failed: list[Any] = []
        self._is_slow = is_slow
        self.client.on("message", self._take)
        self.client.on("edit", self._edited)
        self.client.on("connected", self._count)
        self.client.on("renewed", self._renewed)
        self.client.on("reset", self._fail)
        self.client.on("closed", self._fail)

    async def _take(self, message: Message) -> None:
        if self._is_slow:
            await asyncio.sleep(0.001)
        self.got.append(message)
        self.views[message.conversation].put(message)

    def _edited(self, edit: Edit) -> None:
        self.views[edit.conversation].apply("edit", edit)

    def _count(self, _: Any) -> None:
        self.sessions += 1

    def _renewed(self, _: Any) -> None:
        self.renewals += 1

    def _fail(self, reason: Any) -> None:
        # The test itself closes the client.
        if getattr(reason, "kind", None) != "closed":
            self.failed.append(reason)

    def of(self, conversation: str, user: str) -> list[Message]:
        return [one for one in self.got if (one.conversation, one.sender) == (conversation, user)]

    def texts(self, conversation: str, sequences: list[int]) -> list[str | None]:
        """Returns what the device shows now for some messages."""
        messages = [self.views[conversation].at(seq) for seq in sequences]
        return [message.get("text") if message else None for message in messages]


class Sent(NamedTuple):
    """A message that was sent, with what it is in the end."""

    number: int
    seq: int
    text: str


async def say(client: Trunkline, number: int, user: str | None, group: str | None) -> Sent:
    """Sends a message, and edits some of them."""
    reply = await client.send(user=user, group=group, text=str(number))
    place = reply["conversation"], reply["seq"]
    if number % EDITED:
        return Sent(number, reply["seq"], str(number))
    await asyncio.gather(client.edit(*place, text=f"{number} once"), client.edit(*place, text=f"{number} twice"))
    return Sent(number, reply["seq"], f"{number} twice")


async def traffic(device: Device, stop: asyncio.Event, user: str | None = None, group: str | None = None) -> list[Sent]:
    """Sends numbered messages until told to stop."""
    sent: list[asyncio.Task[Sent]] = []
    while not stop.is_set():
        if device.client.pending < WAITING:
            sent.append(asyncio.create_task(say(device.client, len(sent) + 1, user, group)))
        await asyncio.sleep(EACH)
    return await asyncio.gather(*sent)


@unittest.skipUnless(PROGRAM, "TRUNKLINE_BIN names no gateway")
class Kills(unittest.IsolatedAsyncioTestCase):
    async def test_each_message_comes_once_in_order_none_is_lost_and_the_last_edit_holds(self) -> None:
        gateway = await Gateway(has_tokens=True).start()
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
                before = bob.sessions
                await asyncio.sleep(BETWEEN * (0.5 + random.random()))
                await gateway.kill()
                await gateway.start()
                # One device is back, others may not be.
                await until("a session after the start", lambda: bob.sessions > before)
                # Who runs the tests sees that they go on.
                print(f"start {kill + 1} of {KILLS}", flush=True)
            await until("sessions", lambda: all(one.client.state is State.ONLINE for one in devices))
            stop.set()
            by_alice, by_bob, by_carol = await asyncio.wait_for(asyncio.gather(*streams), 180)

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
                # What was missed comes with the text that it has then.
                numbers = [(int((one.text or "").split()[0]), one.seq) for one in who.of(conversation, user)]
                self.assertEqual(numbers, [(one.number, one.seq) for one in expected])
                sequences, texts = [one.seq for one in expected], [one.text for one in expected]
                try:
                    await until("the last edits", lambda: who.texts(conversation, sequences) == texts)
                except AssertionError:
                    self.assertEqual(who.texts(conversation, sequences), texts)
            # What a call has told comes as no event to the device that sent it.
            self.assertEqual(alice.of(pair, "alice") + bob.of(pair, "bob") + carol.of("g:eng", "carol"), [])
            for device in devices:
                for conversation in (pair, "g:eng"):
                    sequences = [one["seq"] for one in device.got if one["conversation"] == conversation]
                    self.assertEqual(sequences, sorted(sequences))
            # The store has them once each.
            last = (await alice.client.history(pair, limit=1))["last"]
            self.assertEqual(last, len(by_alice) + len(by_bob))
            self.assertGreater(bob.sessions, KILLS)
            self.assertGreater(sum(device.renewals for device in devices), 0, "no token was renewed within a session")
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
