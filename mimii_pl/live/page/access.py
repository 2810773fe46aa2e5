"""Access to the page: a token, requests of the page itself alone, and headers that keep other hosts out."""

import asyncio
import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from jinja2 import Template
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mimii_pl.deploy.serving.serve import LOCAL
from mimii_pl.live.page.forms import read_form

COOKIE_SECONDS = 30 * 86400
FREE_PATH = "/healthz"
FREE_FOLDER = "/static/"
REFUSED_PAUSE = 0.5  # s that a wrong token costs
PAGE_HEADERS = {  # nothing of another host, no script in a page, no page within another
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer a form has no origin to look at
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class PageAccess:
    """An ASGI application before another one, which no request passes that may not.

    - With a token: it is sent as `Authorization: Bearer`, `X-API-Key`, or by the cookie of `POST /login`, else 401.
    - Without one: the page is called by a name of this computer, else 421 (an address of another host that leads here).
    - A request that changes something comes from a page of the same host, or from no page at all, else 403.

    Args:
        app: that is guarded.
        token: None: whoever is at this computer may.
        login: page that asks for it; its value `wrong`: whether a wrong one was given.
    """

    def __init__(self, app: ASGIApp, token: str | None, login: Template) -> None:
        self.app, self.token, self.login = app, token, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in PAGE_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith(FREE_FOLDER) else "no-store")
            await send(message)

        try:
            answer = await self._refusal(Request(scope, receive))
        except HTTPException as fault:
            answer = PlainTextResponse(fault.detail, fault.status_code)
        await (answer or self.app)(scope, receive, send_guarded)

    async def _refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that does not pass, or to one that gives the token."""
        headers, path = request.headers, request.url.path
        if self.token is None and _host_of(headers) not in LOCAL:
            told = (
                "without page.token, this page is called by a name of its own computer: localhost, 127.0.0.1 or [::1]"
            )
            return PlainTextResponse(told, 421)
        if request.method not in ("GET", "HEAD") and not _same_origin(headers, self._has_token(headers)):
            return PlainTextResponse("a page of another host may not change anything here", 403)
        if path == "/login":
            return await self._log_in(request) if request.method == "POST" else self._login_page()
        if path == FREE_PATH or path.startswith(FREE_FOLDER) or self.token is None:
            return None
        if self._has_token(headers) or self._has_cookie(headers):
            return None
        if "text/html" in headers.get("accept", ""):
            return self._login_page()
        return PlainTextResponse("send the token: Authorization: Bearer, or X-API-Key", 401)

    async def _log_in(self, request: Request) -> Response:
        given = (await read_form(request)).get("token", "")
        if self.token is not None and not _equal(given, self.token):
            await asyncio.sleep(REFUSED_PAUSE)
            return self._login_page(wrong=True)
        answer = RedirectResponse("/", 303)
        if self.token is not None:
            answer.set_cookie(*_cookie(self.token), max_age=COOKIE_SECONDS, httponly=True, samesite="strict", path="/")
        return answer

    def _login_page(self, *, wrong: bool = False) -> Response:
        return Response(self.login.render(wrong=wrong), 401, media_type="text/html")

    def _has_token(self, headers: Headers) -> bool:
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        return self.token is not None and _equal(_as_sent(given), self.token)

    def _has_cookie(self, headers: Headers) -> bool:
        assert self.token is not None
        name, value = _cookie(self.token)
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        return name in cookies and _equal(cookies[name].value, value)


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode(errors="replace"))


def _as_sent(header: str) -> str:
    """Return a header, which arrives as Latin-1, as UTF-8, which it was sent as."""
    return header.encode("latin-1").decode(errors="replace")


def _cookie(token: str) -> tuple[str, str]:
    """Return a name and a value from which nobody learns the token; monitors of one computer have their own names."""
    derived = hmac.new(token.encode(errors="replace"), b"mimii_pl page", hashlib.sha256).hexdigest()
    return f"mimii_{derived[:8]}", derived


def _host_of(headers: Headers) -> str:
    """Return the host that a request names, without its port."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Headers, by_header: bool) -> bool:
    """Tell whether a request comes from a page of this host; one of a program, without a cookie, has no origin."""
    if by_header:
        return True
    origin = headers.get("origin")
    if origin is not None:
        return origin.partition("://")[2] == headers.get("host")
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none") and "cookie" not in headers
