"""Changes of alarms to people: mail, ntfy, Slack and whatever else Apprise knows."""

from mimii_pl.core.errors import InputError
from mimii_pl.live.output._message import AlarmMessage
from mimii_pl.live.output._output import AlarmOutput, DeliveryError


class Apprise(AlarmOutput):
    """Notifies through one address of Apprise, such as `ntfy://host/topic` or `mailtos://user:password@host?to=...`.

    Apprise tells only whether a notification was taken, so that one which was not is sent again, however often.

    Args:
        url: see https://github.com/caronc/apprise/wiki.
    """

    def __init__(self, url: str) -> None:
        import apprise

        kind = url.partition(":")[0]
        self.service = apprise.Apprise()
        if not self.service.add(url):
            raise InputError(f"output.apprise: {kind}:// is no address that Apprise knows: see its list of services")
        super().__init__("apprise", url, f"{kind} (Apprise)")

    def send(self, message: AlarmMessage) -> None:
        import apprise

        kinds = {"alarm": apprise.NotifyType.FAILURE, "warn": apprise.NotifyType.WARNING}
        kind = kinds.get(message.level, apprise.NotifyType.SUCCESS)
        if not self.service.notify(title=message.title, body=message.line, notify_type=kind):
            raise DeliveryError("it was not taken")
