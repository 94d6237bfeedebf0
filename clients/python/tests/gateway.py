"""A real gateway that tests kill and start again. TRUNKLINE_BIN names the program."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable

PROGRAM = os.environ.get("TRUNKLINE_BIN")


class Gateway:
    """A gateway in development mode with a data folder of its own."""

    def __init__(self) -> None:
        self._data = tempfile.mkdtemp(prefix="trunkline-python-")
        self._listen = "127.0.0.1:0"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"ws://{self._listen}/v1/ws"

    async def start(self) -> Gateway:
        """Starts it on the address of before. Returns when clients can connect."""
        assert PROGRAM
        flags = ["--dev-auth", "--http=off", "--control=127.0.0.1:0", f"--listen={self._listen}", f"--data={self._data}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        self._process = await asyncio.create_subprocess_exec(
            PROGRAM,
            "serve",
            *flags,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout
        async for line in self._process.stdout:
            if ready := re.match(r"ready ws=ws://([^/]+)/", line.decode()):
                self._listen = ready[1]
                return self
        raise AssertionError("the gateway ended before it was ready")

    async def kill(self) -> None:
        """Kills the process and waits for its end."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def remove(self) -> None:
        if self._process and self._process.returncode is None:
            await self.kill()
        shutil.rmtree(self._data)


async def until(what: str, holds: Callable[[], bool], limit: float = 60) -> None:
    """Waits until something holds."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"it never came: {what}"
        await asyncio.sleep(0.005)
