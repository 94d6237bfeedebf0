"""A real gateway that tests kill and start again. TRUNKLINE_BIN names the program."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = os.environ.get("TRUNKLINE_BIN")


#: The secret of the tokens.
SECRET = b"a secret of at least 32 bytes for tests"


def token(user: str, seconds: float) -> str:
    """Returns a token for a user that expires in some seconds."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = time.time()
    claims = {"sub": user, "iat": int(now), "exp": now + seconds}
    text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{text}.{encode(hmac.digest(SECRET, text.encode(), hashlib.sha256))}"


class Gateway:
    """A gateway with a data folder of its own: in development mode, or one that asks for tokens."""

    def __init__(self, *, has_tokens: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="trunkline-python-"))
        self._data, self._backup = self._folder / "data", self._folder / "backup"
        self._auth = ["--dev-auth"]
        if has_tokens:
            key = self._folder / "secret.key"
            key.write_bytes(SECRET)
            self._auth = [f"--jwt-key={key}", "--jwt-algorithm=HS256"]
        self._listen = self._control = "127.0.0.1:0"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"ws://{self._listen}/v1/ws"

    async def start(self) -> Gateway:
        """Starts it on the address of before. Returns when clients can connect."""
        flags = ["--http=off", f"--control={self._control}", f"--listen={self._listen}", f"--data={self._data}"]
        self._process = await self._run("serve", *self._auth, *flags)
        assert self._process.stdout
        async for line in self._process.stdout:
            if ready := re.match(r"ready ws=ws://([^/]+)/.* control=http://([^/ ]+)", line.decode()):
                self._listen, self._control = ready.groups()
                return self
        raise AssertionError("the gateway ended before it was ready")

    async def _run(self, *arguments: str) -> asyncio.subprocess.Process:
        assert PROGRAM
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        output, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(PROGRAM, *arguments, env=environment, stdout=output, stderr=nothing)

    async def back_up(self) -> None:
        """Makes a backup while the gateway runs."""
        flags = [f"--data={self._data}", f"--control={self._control}", str(self._backup)]
        process = await self._run("store", "backup", *flags)
        await process.communicate()
        assert process.returncode == 0

    def restore(self) -> None:
        """Puts the backup into the place of the store. The gateway has ended."""
        shutil.rmtree(self._data)
        shutil.copytree(self._backup, self._data)

    async def kill(self) -> None:
        """Kills the process and waits for its end."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def remove(self) -> None:
        if self._process and self._process.returncode is None:
            await self.kill()
        shutil.rmtree(self._folder)


async def until(what: str, holds: Callable[[], bool], limit: float = 60) -> None:
    """Waits until something holds."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"it never came: {what}"
        await asyncio.sleep(0.005)
