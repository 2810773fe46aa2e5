"""Changes of alarms as requests to a web server."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import requests

from mimii_pl.core.errors import InputError
from mimii_pl.live.output._message import AlarmMessage
from mimii_pl.live.output._output import AlarmOutput, DeliveryError, RefusedMessageError

TIMES = (5.0, 15.0)  # s to connect, and to answer
MAY_PASS = (401, 403, 404, 407, 408, 425, 429)  # statuses of a server that is set up wrongly, or busy


class Webhook(AlarmOutput):
    """Posts each change as JSON (`AlarmMessage`), with its key as `Idempotency-Key`; any status of 200 to 299 confirms.

    Other statuses of 400 to 499 refuse the message, unless they are in `MAY_PASS`. Redirects are not followed, as they
    would turn the POST into a GET.

    Args:
        url: http or https.
        headers: of each request, such as {Authorization: Bearer ...}.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"output.webhook={url}: should be an address, http://host/path or https://host/path")
        super().__init__("webhook", url, f"the webhook at {parts.hostname}")
        self.url, self.session = url, requests.Session()
        self.session.headers.update({str(name): str(value) for name, value in (headers or {}).items()})

    def send(self, message: AlarmMessage) -> None:
        headers = {"Idempotency-Key": message.key.encode("ascii", "backslashreplace").decode()}
        try:
            answer = self.session.post(
                self.url, json=message.fields(), headers=headers, timeout=TIMES, allow_redirects=False
            )
        except requests.RequestException as error:
            raise DeliveryError(type(error).__name__) from None  # its text tells the path, maybe a secret
        status = answer.status_code
        if 400 <= status < 500 and status not in MAY_PASS:
            raise RefusedMessageError(f"status {status}")
        if not 200 <= status < 300:
            raise DeliveryError(f"status {status}")

    def close(self) -> None:
        self.session.close()
