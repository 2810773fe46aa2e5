"""Outputs as a configuration names them."""

from collections.abc import Mapping, Sequence

from mimii_pl.core.addresses import whole_address
from mimii_pl.core.errors import InputError
from mimii_pl.live.output._output import AlarmOutput


def build_outputs(
    *,
    screen: bool = True,
    webhook: str | Sequence[str] | None = None,
    webhook_headers: Mapping[str, str] | None = None,
    mqtt: str | None = None,
    discovery: str | None = "homeassistant",
    apprise: str | Sequence[str] | None = None,
) -> list[AlarmOutput]:
    """Build the ways out of a monitor.

    Args:
        screen: log each change in a line.
        webhook: addresses, or one, that each change is posted to as JSON.
        webhook_headers: of these requests, such as {Authorization: Bearer ...}.
        mqtt: address of a broker, mqtt://user:password@host:1883/mimii.
        discovery: prefix of Home Assistant's topics; None: it is not told.
        apprise: addresses of Apprise, or one, for mail, ntfy, Slack and others.

    Raises:
        InputError: an address is none, or given twice, or a package is missing.
    """
    outputs: list[AlarmOutput] = []
    if screen:
        from mimii_pl.live.output.screen import Screen

        outputs.append(Screen())
    for url in _listed(webhook):
        from mimii_pl.live.output.webhook import Webhook

        outputs.append(Webhook(url, webhook_headers))
    try:
        for url in _listed(mqtt):
            import paho.mqtt.client  # noqa: F401

            from mimii_pl.live.output.mqtt import Mqtt

            outputs.append(Mqtt(url, discovery or ""))
        for url in _listed(apprise):
            from mimii_pl.live.output.apprise import Apprise

            outputs.append(Apprise(url))
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: pip install 'mimii_pl[live]'") from None
    names = [output.name for output in outputs]
    if len(set(names)) < len(names):
        raise InputError("output: an address is given twice, and each change would be told there twice")
    return outputs


def _listed(given: str | Sequence[str] | None) -> list[str]:
    """Return addresses with their passwords."""
    addresses = [given] if isinstance(given, str) else list(given or ())
    whole = [whole_address(address) for address in addresses]
    if None in whole:
        raise InputError(f"output: the password of {addresses[whole.index(None)]} is hidden: give it again")
    return [address for address in whole if address]
