"""Forms that a browser posts."""

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

LARGEST_FORM = 100_000  # bytes
MOST_FIELDS = 20


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; of two with one name the last.

    Raises:
        HTTPException: 413, it is too large; 422, it is no form.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM:
            raise HTTPException(413, f"a form has at most {LARGEST_FORM} bytes")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="replace"))
    except ValueError:
        raise HTTPException(422, "this is no form") from None
