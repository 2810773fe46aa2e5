"""The page as a server in a thread of the monitor's process."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mimii_pl.core.errors import InputError
from mimii_pl.deploy.serving.serve import LOCAL, make_server, open_listener
from mimii_pl.live.events import EventStore
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.station import Station

log = logging.getLogger(__name__)
SHORTEST_TOKEN = 8  # characters
LONGEST_GOODBYE = 3  # s that answers in progress have to end


@contextmanager
def serve_page(
    stations: Sequence[Station],
    folder: Path,
    figures: MonitorFigures,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | int | None = None,
) -> Iterator[str]:
    """Serve the page of a monitor while the block runs, in a thread that scoring never waits for.

    Args:
        stations: of the monitor.
        folder: of their events.
        figures: for Prometheus.
        host, port, token: as `check_page` has them.

    Yields:
        Its address; empty: there is no page.

    Raises:
        InputError: as `check_page`.
    """
    if port is None:
        yield ""
        return
    from mimii_pl.live.page.app import make_page
    from mimii_pl.live.page.feed import PageFeed

    with open_listener(host, port, "page.") as listener:
        store = EventStore(folder)  # of its own: its readers hold up no writer
        feed = PageFeed(stations, time.time())
        secret = None if token is None else str(token)
        server = make_server(make_page(feed, store, figures, secret), LONGEST_GOODBYE)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True)
        thread.start()
        bound, number = listener.getsockname()[:2]
        address = f"http://{f'[{bound}]' if ':' in bound else bound}:{number}/"
        log.info("the page is at %s", address)
        try:
            yield address
        finally:
            feed.close()
            server.should_exit = True
            thread.join(2 * LONGEST_GOODBYE)
            store.close()


def check_page(host: str = "127.0.0.1", port: int | None = None, token: str | int | None = None) -> None:
    """Check the options of a page.

    Args:
        host: address to listen on; another than this computer's own needs a token.
        port: 0: any free one; None: there is no page.
        token: that browsers and programs must send; None: whoever is at this computer may look.

    Raises:
        InputError: FastAPI is missing, the port is in use, or a token is missing or too short.
    """
    if port is None:
        return
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f"the page needs FastAPI ({error}): pip install 'mimii_pl[live]', or page.port=null") from None
    if type(port) is not int or not 0 <= port < 1 << 16:
        raise InputError(f"page.port={port}: should be 0 (any free one) to 65535, or null: no page")
    if token is None and host not in LOCAL:
        raise InputError(
            f"page.host={host}: others could look at the machines, and mark events: set MIMII_PAGE_TOKEN or page.token "
            "to a secret, which browsers are asked for"
        )
    if token is not None and len(str(token)) < SHORTEST_TOKEN:
        raise InputError(f"page.token: should have {SHORTEST_TOKEN} characters or more")
    open_listener(host, port, "page.").close()
