"""Two users chat through a gateway with a client library of somebody else's.

Usage: chat.py ws://127.0.0.1:7700/v1/ws

Everything is written as docs/protocol.md has it, by hand: this is also what a client author would
begin with. Prints "ok" and exits 0, or fails with what was not as expected.
"""

import asyncio
import json
import sys

import websockets

LIMIT_SECONDS = 60


class User:
    """A session of one user."""

    def __init__(self, socket):
        self.socket = socket
        self.last_id = 0
        self.replies = {}
        self.pushes = []

    async def read(self):
        """Takes one message from the gateway."""
        message = json.loads(await self.socket.recv())
        if "push" in message:
            self.pushes.append(message["push"])
        else:
            self.replies[message["id"]] = message

    async def ask(self, command, request):
        """Sends a command and waits for its reply, reading pushes that come before it."""
        self.last_id += 1
        await self.socket.send(json.dumps({"id": self.last_id, command: request}))
        while self.last_id not in self.replies:
            await self.read()
        reply = self.replies.pop(self.last_id)
        assert command in reply, reply
        return reply[command]

    async def push(self, event):
        """Waits for the next push, which must be of this kind."""
        while not self.pushes:
            await self.read()
        push = self.pushes.pop(0)
        assert event in push and push["pos"], push
        return push[event]


async def chat(alice, bob):
    """The whole of a conversation, from hello to history."""
    for user, name in ((alice, "alice"), (bob, "bob")):
        reply = await user.ask("connect", {"user": name, "device": "python"})
        assert reply["user"] == name and reply["device"] == "python", reply

    sent = await alice.ask("send", {"user": "bob", "key": "c-1", "text": "hello \U0001f600"})
    assert sent["conversation"] == "u:alice:bob" and sent["seq"] == 1, sent
    message = await bob.push("message")
    expected = {
        "conversation": "u:alice:bob",
        "seq": 1,
        "from": "alice",
        "device": "python",
        "time": sent["time"],
        "key": "c-1",
        "text": "hello \U0001f600",
    }
    assert message == expected, message

    again = await alice.ask("send", {"user": "bob", "key": "c-1", "text": "hello \U0001f600"})
    assert again == {**sent, "duplicate": True}, again

    assert await bob.ask("ack", {"conversation": "u:alice:bob", "read": 1}) == {}
    # The connection that acknowledged gets the reply alone.
    receipt = await alice.push("receipt")
    assert receipt["user"] == "bob", receipt
    assert (receipt["delivered"], receipt["read"]) == (1, 1), receipt

    answer = await bob.ask("send", {"user": "alice", "text": "hi"})
    assert answer["seq"] == 2, answer
    assert (await alice.push("message"))["text"] == "hi"

    page = await bob.ask("history", {"conversation": "u:alice:bob", "after": 0})
    texts = [message["text"] for message in page["messages"]]
    assert texts == ["hello \U0001f600", "hi"] and page["last"] == 2, page
    assert not alice.pushes and not bob.pushes


async def main(url):
    """Connects twice, once with and once without naming a sub-protocol."""
    async with (
        websockets.connect(url, subprotocols=["trunkline.v1.json"]) as alice,
        websockets.connect(url) as bob,
    ):
        assert alice.subprotocol == "trunkline.v1.json" and bob.subprotocol is None
        await chat(User(alice), User(bob))
    assert alice.close_code == 1000 and bob.close_code == 1000
    print("ok")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(sys.argv[1]), LIMIT_SECONDS))
