"""Changes of alarms -> people and systems: one module per way, a queue on the disk before each."""

from mimii_pl.live.output._build import build_outputs
from mimii_pl.live.output._delivery import Delivery
from mimii_pl.live.output._message import AlarmMessage
from mimii_pl.live.output._output import AlarmOutput

__all__ = ["AlarmMessage", "AlarmOutput", "Delivery", "build_outputs"]
