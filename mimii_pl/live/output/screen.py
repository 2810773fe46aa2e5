"""Changes of alarms as lines of the log."""

import logging

from mimii_pl.live.output._message import AlarmMessage
from mimii_pl.live.output._output import AlarmOutput

log = logging.getLogger(__name__)


class Screen(AlarmOutput):
    """Logs each change in a line."""

    def __init__(self) -> None:
        super().__init__("screen", "", "the screen")

    def send(self, message: AlarmMessage) -> None:
        log.log(logging.WARNING if message.level != "normal" else logging.INFO, "%s", message.line)
