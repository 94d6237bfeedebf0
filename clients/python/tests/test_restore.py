"""A gateway comes back with the store of a backup: what was written after it is gone."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

from trunkline_client import State, Timeline, Trunkline

from gateway import PROGRAM, Gateway, until


@unittest.skipUnless(PROGRAM, "TRUNKLINE_BIN names no gateway")
class Restore(unittest.IsolatedAsyncioTestCase):
    async def test_a_client_begins_anew_and_says_so(self) -> None:
        gateway = await Gateway().start()
        alice, bob = (Trunkline(gateway.url, user=user, device="phone") for user in ("alice", "bob"))
        pair = Timeline("u:alice:bob")
        told: list[str] = []

        def reset(why: dict[str, Any]) -> None:
            told.append(why["reason"])
            pair.clear()

        def texts() -> list[str]:
            return [message["text"] for message in pair.messages]

        bob.on("message", pair.put)
        bob.on("reset", reset)
        try:
            await asyncio.gather(alice.start(), bob.start())
            await alice.send(user="bob", text="1")
            await until("the message before the backup", lambda: texts() == ["1"])
            await gateway.back_up()
            await alice.send(user="bob", text="lost")
            await until("the message behind the backup", lambda: texts() == ["1", "lost"])
            known = bob.position

            await gateway.kill()
            gateway.restore()
            waiting = asyncio.create_task(alice.send(user="bob", text="2"))
            await gateway.start()
            print("start 1 of 2", flush=True)
            self.assertEqual((await waiting)["seq"], 2, "its sequence was that of the message that is lost")
            # What was written before it is back comes with the history, not as an event.
            await until("that it begins anew", lambda: bool(told) and bob.state is State.ONLINE)
            self.assertEqual(len(told), 1, "it said once that the history is another one")
            self.assertTrue(told[0], "and why")
            self.assertNotEqual(bob.position, known)
            for message in (await bob.history("u:alice:bob"))["messages"]:
                pair.put(message)
            self.assertEqual(texts(), ["1", "2"])

            # It goes on from its new position.
            await gateway.kill()
            await gateway.start()
            print("start 2 of 2", flush=True)
            await alice.send(user="bob", text="3")
            await until("a message after another start", lambda: texts() == ["1", "2", "3"])
            self.assertEqual(len(told), 1)
        finally:
            await alice.close()
            await bob.close()
            await gateway.remove()


if __name__ == "__main__":
    unittest.main()
