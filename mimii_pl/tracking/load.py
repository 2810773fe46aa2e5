"""Load a run, or score with it, by directory, `latest` or registered model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimii_pl.scoring.bulk.files import score_files
from mimii_pl.tracking.registry import local_run

if TYPE_CHECKING:
    from mimii_pl.scoring.base_scorer import BaseScorer


def load(
    run_dir: str | Path, *, device: str = "auto", trust: Sequence[str] = (), tracking_uri: str | None = None
) -> "BaseScorer":
    """Load a run as a `Scorer`. Whoever wrote it, nothing of it is executed (see SECURITY.md).

    Args:
        run_dir: directory of a finished run, `latest`, or a registered model: `models:/fan@champion`, `models:/fan/3`.
        device: `auto` takes a GPU where there is one.
        trust: packages, besides this one, whose classes the run's configuration may name: that of your own detectors.
        tracking_uri: store with the registered models; None: MLFLOW_TRACKING_URI, or the local default.

    Raises:
        InputError: there is no such run, it is damaged, or it names a class of a package that is not trusted.
    """
    from mimii_pl.scoring.load_run import load_run

    return load_run(local_run(run_dir, tracking_uri), device=device, trust=trust)


def score(*, run: str, tracking_uri: str | None = None, **options: Any) -> Path:
    """Score recordings with a run (the command `mimii score`), see `scoring.bulk.files.score_files`.

    Args:
        run, tracking_uri: as for `load`.
        **options: of `score_files`.

    Returns:
        Path of the csv file.
    """

    def page(path: Path, *timelines: Any) -> None:
        from mimii_pl.report.timeline_page import write_timelines  # draws: only where it is needed

        write_timelines(path, *timelines)

    return score_files(lambda: local_run(run, tracking_uri), page=page, **options)
