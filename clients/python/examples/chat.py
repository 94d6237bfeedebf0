"""A chat in the terminal that survives restarts of the gateway.

    pip install trunkline-client
    python chat.py alice bob [ws://127.0.0.1:7700/v1/ws]

Each line that you type goes to the other user. Ctrl-D ends the chat.
"""

import asyncio
import json
import sys

from trunkline_client import Edit, Message, Trunkline


async def chat(user: str, peer: str, url: str) -> None:
    trunkline = Trunkline(url, user=user, device="terminal")

    def show(message: Message) -> None:
        print(f"{message.sender}: {message.text or ''}", flush=True)
        trunkline.ack(message.conversation, read=message.seq)

    def changed(edit: Edit) -> None:
        print(f"{edit.sender}, edited: {edit.text or ''}", flush=True)

    trunkline.on("message", show)
    trunkline.on("edit", changed)
    trunkline.on("connected", lambda session: print(json.dumps(session, separators=(",", ":")), flush=True))
    trunkline.on("disconnected", lambda lost: print(f"no connection, again in {lost['retry']:.1f} s", file=sys.stderr))
    async with trunkline:
        while line := await asyncio.to_thread(sys.stdin.readline):
            await trunkline.send(user=peer, text=line.rstrip("\n"))


asyncio.run(chat(sys.argv[1], sys.argv[2], *sys.argv[3:4] or ["ws://127.0.0.1:7700/v1/ws"]))
