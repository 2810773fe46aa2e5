"""`mimii serve`: an HTTP service that takes sound and answers scores."""

import logging
import re
import signal
import socket
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import find_run
from mimii_pl.deploy.serving.limits import RequestLimits
from mimii_pl.deploy.serving.served import Served, check_engine, open_served

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

log = logging.getLogger(__name__)
LOCAL = ("127.0.0.1", "::1", "localhost")
REGISTERED = "models:/"
FIXED = re.compile(r"models:/[^/@]+/\d+")  # a version never changes
CONNECTIONS = 1000  # at a time, idle ones included
LONGEST_DRAIN = 60  # s that requests in progress have to end, after SIGTERM


def serve(
    *,
    run: str,
    engine: str = "auto",
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    hop: float | None = None,
    max_mb: float = 64,
    max_seconds: float = 600,
    max_files: int = 32,
    concurrency: int = 32,
    per_minute: int | None = None,
    watch: float = 60,
    device: str = "auto",
    trust: Collection[str] = (),
    tracking_uri: str | None = None,
) -> None:
    """Serve a run, a registered model or an export over HTTP, until SIGTERM or Ctrl-C; requests in progress end first.

    Args:
        run: a run directory, `latest`, a registered model, or the folder of an export.
        engine: `torch`, `onnx` (an export; torch is not imported), or `auto`: what `run` is.
        host: address to listen on; the default is reached from this computer only.
        port: 0: any free one.
        api_key: that clients must send.
        hop: s from the start of a window to that of the next; None: half a clip.
        max_mb: of a request.
        max_seconds: of a recording.
        max_files: of a request.
        concurrency: requests with sound at a time.
        per_minute: requests with sound of a client; None: any number.
        watch: s between looks at the alias of a registered model; 0: none.
        device: of torch.
        trust: packages, besides this one, whose classes the run may name.
        tracking_uri: store with the registered models.

    Raises:
        InputError: an option is wrong, the model cannot be loaded, or the port is in use.
    """
    require_serve()
    check_engine(engine, watch)
    limits = _limits(max_mb, max_seconds, max_files, concurrency, per_minute)
    if not 0 <= port < 1 << 16:
        raise InputError(f"port={port}: should be 0 (any free one) to 65535")
    open_it = partial(open_served, engine=engine, hop=hop, device=device, trust=trust)
    place = model_place(run, tracking_uri)
    with open_listener(host, port) as listener:
        name = run if run.startswith(REGISTERED) else place.resolve().name  # clients see it, but no path
        served = open_it(name, place)
        watched = watch if run.startswith(REGISTERED) and not FIXED.fullmatch(run) else 0

        def newest(current: Path) -> Served | None:
            found = model_place(run, tracking_uri)
            return None if found == current else open_it(name, found)

        _run(listener, served, limits, None if api_key is None else str(api_key), newest, watched)


def require_serve() -> None:
    """Raise InputError if the packages of the extra are not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f"a service needs FastAPI ({error}): pip install 'mimii_pl[serve]'") from None


def _limits(
    max_mb: float, max_seconds: float, max_files: int, concurrency: int, per_minute: int | None
) -> RequestLimits:
    options = {"max_mb": max_mb, "max_seconds": max_seconds, "max_files": max_files, "concurrency": concurrency}
    for name, value in {**options, "per_minute": 1 if per_minute is None else per_minute}.items():
        if not value > 0:
            raise InputError(f"{name}={value:g}: should be above 0")
    return RequestLimits(max_mb, max_seconds, max_files, concurrency, per_minute)


def model_place(run: str, tracking_uri: str | None) -> Path:
    """Return the folder of a model: an export, a run directory, or that of a registered one, which is fetched."""
    if run.startswith(REGISTERED):
        from mimii_pl.tracking.registry import local_run  # of the extra-large packages

        return local_run(run, tracking_uri)
    return Path(run) if (Path(run) / "model.json").is_file() else find_run(run)


def open_listener(host: str, port: int, prefix: str = "") -> socket.socket:
    """Open a socket that listens.

    Args:
        prefix: of the options' names, for the message.

    Raises:
        InputError: the address is none of this computer, or the port is in use.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{prefix}host={host} {prefix}port={port} cannot be listened on: {reason}. Name another port, or "
            f"{prefix}port=0"
        ) from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer waits 40 ms for an acknowledgement
    return listener


def make_server(app: "ASGIApp", patience: int) -> "uvicorn.Server":
    """Make the server of an application, which tells its errors alone.

    Args:
        patience: s that answers in progress have to end, after it was told to.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=patience,
        lifespan="on",
        ws="none",
    )
    return uvicorn.Server(config)


def _run(
    listener: socket.socket,
    served: Served,
    limits: RequestLimits,
    api_key: str | None,
    newest: Callable[[Path], Served | None],
    every: float,
) -> None:
    from mimii_pl.deploy.serving.app import make_app
    from mimii_pl.deploy.serving.service import Service, watch

    service = Service(served, limits)
    background: Callable[[], Awaitable[None]] | None = partial(watch, service, newest, every) if every else None
    server = make_server(make_app(service, api_key, background), LONGEST_DRAIN)
    host, port = listener.getsockname()[:2]
    if host not in LOCAL and api_key is None:
        log.warning("host=%s: whoever reaches this computer may use the service: set api_key, or MIMII_API_KEY", host)
    shown = f"[{host}]" if ":" in host else host
    print(f"serving {served.name} ({served.engine}) on http://{shown}:{port}, until SIGTERM or Ctrl-C", flush=True)
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises it anew when it has ended
        pass
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
