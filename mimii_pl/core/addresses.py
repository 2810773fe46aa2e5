"""Addresses with passwords: shown and stored without them, and whole again where a connection is opened.

The whole addresses are kept in an environment variable, so that processes of a sweep inherit them.
"""

import json
import os
import re
from typing import Any
from urllib.parse import quote

from omegaconf import DictConfig, ListConfig

ADDRESSES = "MIMII_PL_ADDRESSES"  # environment variable: JSON, address without password -> whole address
HIDDEN = "***"
VALID = "%:!$&'()*+,;="  # in a password, besides letters and digits; libraries stumble over others, such as @ and /
_HOST = r"@(?:\[[0-9a-fA-F:.]+\](?::\d+)?|[^\s/?#,;'\"\[\](){}@]*)"
_SCHEME = r"(?<![\w+.\-])[a-zA-Z][\w+.\-]{0,31}://"  # lengths are bounded, so that a long text takes no long time
_PATTERNS = (
    # user:password@host. A password may hold anything but spaces, unless it begins as a port does: 5000/path, 5000,
    rf"""(?P<before>{_SCHEME}[^\s:/?\#@'"\[]{{0,256}}:)(?!\d+(?:[/?\#,;'")}}\]\s]|$))
         (?P<secret>(?:(?!://)[^\s/?\#'"]){{1,512}}|(?:(?!://)[^\s/?\#]){{1,512}}|(?:(?!://)[^\s'"]){{1,512}})
         (?P<after>{_HOST})""",
    # a token as the user of a web server, without a password
    rf"""(?P<before>https?://)(?P<secret>[^\s:/?\#@'"\[]{{1,512}}:?)(?P<after>{_HOST})""",
    # ?password=...
    rf"""(?P<before>{_SCHEME}[^\s'"]{{0,512}}[?&](?:password|passwd|pwd|token|access_token|api_key)=)
        (?P<secret>[^\s&'",\])}}]+)(?P<after>)""",
)
_SECRETS = [re.compile(pattern, re.VERBOSE | re.IGNORECASE) for pattern in _PATTERNS]


def without_password(text: str) -> str:
    """Hide the passwords of all addresses in a text; this process and its children remember the whole addresses.

    >>> without_password("sweep.storage=postgresql://me:secret@host/studies seed=1")
    'sweep.storage=postgresql://me:***@host/studies seed=1'
    """
    for pattern in _SECRETS if "://" in text else ():
        text = pattern.sub(_hide, text)
    return text


def _hide(match: re.Match[str]) -> str:
    before, secret, after = match.group("before", "secret", "after")
    if HIDDEN in secret:
        return match[0]
    hidden, known = f"{before}{HIDDEN}{after}", _known()
    if before.endswith("//"):  # no library sends a user without a colon
        secret = f"{secret.removesuffix(':')}:"
    whole = f"{before}{quote(secret, safe=VALID)}{after}"
    if known.get(hidden) != whole:
        os.environ[ADDRESSES] = json.dumps({**known, hidden: whole})
    return hidden


def whole_address(address: str) -> str | None:
    """Return an address with its password, percent-encoded where it has to be; None if the password is not known.

    It is known from the command line, from an earlier call of `without_password`, or from MLFLOW_TRACKING_URI.
    """
    without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    address = without_password(address)
    known = _known()
    for hidden in sorted(known, key=len, reverse=True):  # an address may hold a second one, of a stranger's making
        rest = address.removeprefix(hidden)
        if rest != address and not re.match(r"[\w.:\-]", rest):
            address = known[hidden] + rest
    return None if HIDDEN in address else address


def hide_passwords(node: Any) -> None:
    """Hide the passwords of all addresses in a resolved configuration, in place."""
    if isinstance(node, DictConfig | ListConfig):
        for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
            value = node[key]
            if isinstance(value, str):
                if (hidden := without_password(value)) != value:
                    node[key] = hidden
            else:
                hide_passwords(value)


def _known() -> dict[str, str]:
    known: dict[str, str] = json.loads(os.environ.get(ADDRESSES, "{}"))
    return known
