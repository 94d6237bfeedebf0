"""A chat in the terminal, over Python's `websockets`.

    pip install websockets
    python chat.py alice bob [ws://127.0.0.1:7700/v1/ws]

Each line that you type goes to the other user. Ctrl-D ends the chat.
"""

import asyncio
import json
import sys
import uuid

import websockets


async def receive(socket):
    """Prints the messages of others and acknowledges them."""
    async for frame in socket:
        answer = json.loads(frame)
        if "error" in answer:
            print("refused:", answer["error"]["message"], flush=True)
        message = answer.get("push", {}).get("message")
        if message:
            print(f"{message['from']}: {message['text']}", flush=True)
            mark = {"conversation": message["conversation"], "read": message["seq"]}
            await socket.send(json.dumps({"ack": mark}))


async def chat(user, peer, url):
    """Connects, then sends every line of standard input."""
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"id": 1, "connect": {"user": user, "device": "python"}}))
        print(await socket.recv(), flush=True)
        receiver = asyncio.create_task(receive(socket))
        while line := await asyncio.to_thread(sys.stdin.readline):
            # The key makes it safe to send the same message again after a lost connection.
            send = {"user": peer, "key": str(uuid.uuid4()), "text": line.rstrip("\n")}
            await socket.send(json.dumps({"id": 2, "send": send}))
        receiver.cancel()


asyncio.run(chat(*sys.argv[1:3], *(sys.argv[3:] or ["ws://127.0.0.1:7700/v1/ws"])))
