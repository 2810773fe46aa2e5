"""Files of the DCASE challenge, `anomaly_score_*.csv` and `decision_result_*.csv`, as its evaluators read them."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from mimii_pl.core.files import write_text
from mimii_pl.scoring.scores import ClipScore


def write_challenge(folder: Path, clips: Iterable[ClipScore], official: str) -> list[Path]:
    """Write both files for each machine ID (2021: and domain), one row per clip, sorted by file name.

    Names: `anomaly_score_fan_id_00.csv` (2020), `anomaly_score_fan_section_00_source_test.csv` (2021),
    `anomaly_score_fan_section_00_test.csv` (since 2022). No header; rows `name.wav,value`; a decision of 1 means
    anomalous.
    """
    groups: dict[str, list[ClipScore]] = {}
    for clip in clips:
        ending = {"dcase2020": "", "dcase2021": f"_{clip.domain}_test"}.get(official, "_test")
        name = re.sub(r"[/\\\\]", "_", f"{clip.machine}_{clip.id}{ending}")  # never a path
        groups.setdefault(name, []).append(clip)
    folder.mkdir(exist_ok=True)
    written = []
    for name, group in groups.items():
        rows = sorted((f"{Path(clip.file).stem}.wav", repr(clip.score), clip.decision) for clip in group)
        for kind, column in (("anomaly_score", 1), ("decision_result", 2)):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows((row[0], row[column]) for row in rows)
            written.append(folder / f"{kind}_{name}.csv")
            write_text(written[-1], text.getvalue())
    return written
