"""The other end of a request: hands over its body, and is listened to for hanging up while it is answered."""

import asyncio

from starlette.types import Message, Receive


class Caller:
    """Stands between the server and the app; ``stop`` it when the request is over."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = False
        self._listening: asyncio.Task[None] | None = None

    def left(self) -> bool:
        """Whether the caller has hung up. May be asked in any thread."""
        return self._left

    async def receive(self) -> Message:
        """The next part of the body; after the last one nobody but this object listens any more."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._left = True
        elif not message.get("more_body", False) and self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        return message

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True

    def stop(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.cancel()
