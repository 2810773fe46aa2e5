"""The answer of a feed to a browser: server-sent events."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mimii_pl.live.page.feed import FeedClient, PageFeed

STALLED = 30.0  # s for a client to take a message


class EventStream(Response):
    """An answer of server-sent events, which ends when its client goes away, takes nothing, or the page ends.

    Args:
        feed: where the events come from.
        client: whose they are.
    """

    media_type = "text/event-stream"

    def __init__(self, feed: PageFeed, client: FeedClient) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.feed, self.client = feed, client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        self.feed.clients.add(self.client)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"retry: 2000\n\n", "more_body": True})
            while not gone.done():
                taken = asyncio.ensure_future(self.client.take())
                await asyncio.wait({taken, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not taken.done():
                    taken.cancel()
                    return
                ends = self.client.closed
                sent = send({"type": "http.response.body", "body": taken.result(), "more_body": not ends})
                await asyncio.wait_for(sent, STALLED)
                if ends:
                    return
        except TimeoutError:  # the connection is closed
            return
        finally:
            self.feed.clients.discard(self.client)
            gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
