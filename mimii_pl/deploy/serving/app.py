"""The HTTP side of the service: its addresses, who may use them, and the answers to what goes wrong."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client import CONTENT_TYPE_LATEST

from mimii_pl import __version__
from mimii_pl.deploy.serving.bodies import MULTIPART, PCM, Upload, receive
from mimii_pl.deploy.serving.limits import Gate, Refused
from mimii_pl.deploy.serving.service import Service

PAGE, ADDRESSES_PAGE = (Path(__file__).parent / name for name in ("page.html", "docs.html.j2"))
RETRY_AFTER = {429: "1"}  # status -> s
HEADERS = {  # of pages: nothing of another host, and nothing but sound of its own
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"type": "object", "properties": {"file": {"type": "array", "items": _BINARY["schema"]}}}
_BODY = {
    "required": True,
    "content": {
        **dict.fromkeys(("audio/wav", "audio/flac", "application/octet-stream", PCM), _BINARY),
        MULTIPART: {"schema": _FORM},
    },
}

_ANSWERS: dict[int | str, dict[str, Any]] = {  # of POST /score; `limit` and `allowed` name a limit that is exceeded
    200: {"description": "scores; a file of a form that cannot be used has an error"},
    400: {"description": "not a form with files"},
    401: {"description": "without the API key"},
    408: {"description": "the body takes too long to arrive"},
    413: {"description": "too many bytes, or files"},
    422: {"description": "no recording that can be used, and why"},
    429: {"description": "too many requests"},
}


def make_app(
    service: Service, api_key: str | None = None, background: Callable[[], Awaitable[None]] | None = None
) -> FastAPI:
    """Make the application.

    Args:
        service: that scores.
        api_key: that clients must send, as `X-API-Key` or `Authorization: Bearer`; None: anyone may.
        background: what runs beside it, until it ends.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.ensure_future(background()) if background else None
        yield
        if task:
            task.cancel()
        service.close()

    app = FastAPI(
        title="mimii_pl", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )  # FastAPI's pages load scripts of other hosts
    gate = Gate(service.limits)

    def with_key(request: Request) -> None:
        """Let nobody pass without the key."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = request.headers.get("x-api-key") or bearer
        if api_key is not None and not hmac.compare_digest(given.encode("latin-1"), api_key.encode()):
            raise Refused(401, "send the API key: the header X-API-Key, or Authorization: Bearer")

    @app.exception_handler(Refused)
    async def refuse(_: Request, refused: Exception) -> JSONResponse:
        assert isinstance(refused, Refused)
        return _refusal(refused)

    sound: dict[str, Any] = {
        "dependencies": [Depends(with_key)],
        "openapi_extra": {"requestBody": _BODY},
        "responses": _ANSWERS,
    }

    @app.post("/score/batch", **sound)
    @app.post("/score", **sound)
    async def score(
        request: Request,
        machine_id: str | None = None,
        rate: int | None = None,
        channels: int = 1,
        explain: bool = False,
    ) -> JSONResponse:
        """Score one recording, the body, or several, the files of a form.

        - **machine_id**: that they are compared with; not needed if the model knows one only, or does not use it
        - **rate**, **channels**: of samples without a header (`audio/pcm`: int16, little-endian, interleaved)
        - **explain**: also the scores of all windows, and a spectrogram
        """
        started, status = time.perf_counter(), 500
        try:
            with (
                gate.passed(request.client.host if request.client else ""),
                TemporaryDirectory(prefix="mimii-") as place,
            ):
                service.figures.open.set(gate.open)
                uploads, told = await receive(request, Path(place), service.limits, rate, channels)
                answer = await _score_all(service, uploads, machine_id or told, explain)
            status = answer.status_code
            return answer
        except Refused as refused:
            status = refused.status
            raise
        finally:
            service.figures.open.set(gate.open)
            service.figures.requests.labels(str(status)).inc()
            service.figures.seconds.observe(time.perf_counter() - started)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Tell that the process answers."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        """Tell that a model is loaded: recordings can be scored."""
        return {"status": "ready", "run": service.served.fingerprint}

    @app.get("/model", dependencies=[Depends(with_key)])
    async def model() -> dict[str, Any]:
        """Describe the model in use, and the limits."""
        return {**service.served.describe(), "limits": service.limits._asdict()}

    @app.get("/metrics", dependencies=[Depends(with_key)])
    async def metrics() -> Response:
        """Return the figures of the service, for Prometheus."""
        return Response(service.figures.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_addresses(app.openapi()), headers=HEADERS)

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=HEADERS)

    return app


def _addresses(openapi: dict[str, Any]) -> str:
    """Return the page that describes the addresses."""
    environment = Environment(
        undefined=StrictUndefined, autoescape=True, loader=FileSystemLoader(ADDRESSES_PAGE.parent), trim_blocks=True
    )
    return environment.get_template(ADDRESSES_PAGE.name).render(openapi)


async def _score_all(service: Service, uploads: list[Upload], machine_id: str | None, explain: bool) -> JSONResponse:
    """Score the recordings of a request; it is refused if none of them can be used."""
    found = await asyncio.gather(
        *(service.score(upload.path, machine_id, explain=explain) for upload in uploads), return_exceptions=True
    )
    answers: list[dict[str, Any]] = []
    for upload, one in zip(uploads, found, strict=True):
        name = {"name": upload.name} if upload.name else {}
        if isinstance(one, Refused):
            answers.append({**name, "error": one.reason, "limit": one.limit})
        elif isinstance(one, BaseException):
            raise one
        else:
            answers.append({**name, **one})
    refusals = [one for one in found if isinstance(one, Refused)]
    if len(refusals) == len(found):
        first = refusals[0]
        if len(found) > 1:
            first = Refused(
                first.status, f"none of {len(found)} recordings can be used: {first.reason}", first.limit, first.allowed
            )
        return _refusal(first)
    return JSONResponse({"model": service.served.fingerprint, "recordings": answers})


def _refusal(refused: Refused) -> JSONResponse:
    content = {"detail": refused.reason, "limit": refused.limit, "allowed": refused.allowed}
    headers = {"Retry-After": RETRY_AFTER[refused.status]} if refused.status in RETRY_AFTER else None
    return JSONResponse({key: value for key, value in content.items() if value is not None}, refused.status, headers)
