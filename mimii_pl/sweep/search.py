"""Search with Optuna through Hydra: propose values, resume interrupted searches, show the result."""

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from hydra_plugins.hydra_optuna_sweeper.config import OptunaConfig
from hydra_plugins.hydra_optuna_sweeper.mlflow_optuna_sweeper import MLflowOptunaSweeper
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from mimii_pl.core.arguments import spell_overrides
from mimii_pl.core.config import build
from mimii_pl.core.databases import make_whole, require_writable_database, sqlite_path
from mimii_pl.core.errors import InputError, first_line
from mimii_pl.core.search_name import digest, storage
from mimii_pl.sweep.figures import write_figures
from mimii_pl.tracking.sweep_recorder import SweepRecorder

log = logging.getLogger(__name__)
PER_RUN = ("machine", "dataset", "seed", "protocol", "target", "task")  # criteria cannot be compared across these
STARTS = 3  # of a trial: one that was running each time the search was killed has probably killed it
SETTLED = (TrialState.COMPLETE, TrialState.PRUNED)


class OptunaSearch(MLflowOptunaSweeper):
    """The sweeper of hydra-optuna-mlflow-sweeper, with this project's parent runs and folders.

    Args:
        options: `conf/sweep/_search.yaml`.
        space: option -> its values, in Hydra's syntax.
    """

    def __init__(self, options: DictConfig, space: dict[str, Any]) -> None:
        super().__init__(OptunaConfig(params=space))
        self.options = options

    def sweep(self, arguments: list[str]) -> None:
        """Run the missing trials, then draw the figures and print the winner.

        Raises:
            InputError: there is nothing to search, another process runs this search, or the folder holds another one.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder = Path(self.config.hydra.sweep.dir).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        space, fixed = self._build_search_space(arguments)
        self.grid = self.options.sampler is None
        self._validate(space)
        try:
            with FileLock(self.folder / "search.lock", timeout=0):
                study = self._study(digest(arguments, self.optuna_config.params))
                self._run(study, space, fixed)
                self._conclude(study)
        except optuna.exceptions.StorageInternalError as error:
            raise InputError(
                f"sweep.storage={self.options.storage}: {first_line(error.__cause__ or error)}"
                ". What has finished is kept: the same command continues the search"
            ) from None
        except Timeout:
            raise InputError(
                f"{self.folder} is being searched by another process. To use more cores, start one search with "
                "hydra/launcher=joblib; to start a second search like it, give it a sweep.name"
            ) from None

    def _validate(self, space: dict[str, Any]) -> None:
        if not space:
            raise InputError(
                "there is nothing to search: conf/sweep/space has no file for this detector. Give values on the "
                "command line, such as 'model.lr=tag(log, interval(1e-4, 1e-2))' or model.frames=5,7,9"
            )
        for name, values in space.items():
            if self.grid and not isinstance(values, CategoricalDistribution):
                raise InputError(
                    f"{name}: sweep=grid takes lists of values (choice, range); intervals need sweep=random"
                )
            if not self.grid and (name in PER_RUN or name.startswith("protocol.")):
                raise InputError(
                    f"{name}: a search compares trials by one number, which is not comparable across values of {name}. "
                    "Start one search for each, or use sweep=grid"
                )

    def _study(self, asked: str) -> optuna.Study:
        study = optuna.create_study(
            study_name=self.folder.name,
            storage=_open_storage(storage(self.options, self.folder)),
            direction="maximize",
            load_if_exists=True,
            pruner=build(self.options.pruner) or optuna.pruners.NopPruner(),
        )
        if study.user_attrs.setdefault("asked", asked) != asked:
            raise InputError(
                f"{self.folder} holds another search, with other options or values. Give this one another sweep.name, "
                "or the same options as before"
            )
        study.set_user_attr("asked", asked)
        if not self.grid:  # a resumed search must not propose its first values again
            study.sampler = build(self.options.sampler, seed=self.config.seed + 7919 * len(study.trials))
        return study

    def _run(self, study: optuna.Study, space: dict[str, Any], fixed: list[str]) -> None:
        trials, batch_size = self._missing(study, space), self._batch_size()
        while batch := list(itertools.islice(trials, batch_size)):
            overrides = [self._overrides(study, trial, fixed) for trial in batch]
            returned = self.launcher.launch(overrides, initial_job_idx=batch[0].number)
            for trial, value in zip(batch, returned, strict=True):
                tell_study(study, trial.number, value.return_value)

    def _missing(self, study: optuna.Study, space: dict[str, Any]) -> Iterator[FrozenTrial | Trial]:
        """Yield trials that were running when the search was interrupted, then new ones; read one batch at a time."""
        interrupted = [trial for trial in study.trials if trial.state is TrialState.RUNNING]
        for trial in interrupted:
            starts = trial.user_attrs.get("starts", 0)
            if "pruned" not in trial.user_attrs and trial.params.keys() == space.keys() and starts < STARTS:
                yield trial
            else:
                if starts == STARTS:
                    log.warning(
                        "trial %d was running each of the %d times the search was killed: skipped", trial.number, starts
                    )
                tell_study(study, trial.number, None)
        if self.grid:
            _enqueue(study, space)
            missing = sum(trial.state is TrialState.WAITING for trial in study.trials)
        else:
            missing = self.options.trials - sum(trial.state in SETTLED for trial in study.trials)
        for _ in range(missing):
            yield study.ask(space)

    def _overrides(self, study: optuna.Study, trial: FrozenTrial | Trial, fixed: Sequence[str]) -> tuple[str, ...]:
        Trial(study, trial._trial_id).set_user_attr("starts", trial.user_attrs.get("starts", 0) + 1)
        overrides = self._build_trial_overrides(trial, list(fixed), None)
        return (*spell_overrides(overrides), f"sweep.trial={trial.number}")

    def _conclude(self, study: optuna.Study) -> None:
        """Write the figures into the folder, keep the winner for the parent run, and print it."""
        from mimii_pl.core.console import Console

        write_figures(study, self.folder)
        done = study.get_trials(states=[TrialState.COMPLETE])
        best = (
            study.best_trial if done and not self.grid else None
        )  # a grid may have several machines, each with its own
        if best:
            SweepRecorder(self.folder).add(tags={f"best.{name}": value for name, value in best.params.items()})
        counts = Counter(trial.state.name.lower() for trial in study.trials)
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        console = Console()
        console.print(f"search {study.study_name}: {len(study.trials)} trials, {states}", soft_wrap=True)
        if best:
            options = " ".join(f"{name}={value}" for name, value in best.params.items())
            console.print(f"best: trial {best.number}, objective {best.value:.4f}: {options}", soft_wrap=True)
        console.print(f"figures: {self.folder / 'history.png'}, importance.png; trials.csv", soft_wrap=True)

    def _batch_size(self) -> int:
        from joblib import cpu_count

        workers = OmegaConf.select(self.config, "hydra.launcher.n_jobs") or 1
        return self.options.at_once or (workers if workers > 0 else cpu_count())


def _open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open Optuna's storage; a missing SQLite database is made.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        if path := sqlite_path(url):
            make_whole(path, lambda whole: optuna.storages.RDBStorage(whole).engine.dispose())
            require_writable_database(path)  # an error of SQLite becomes one line
        return optuna.storages.RDBStorage(url)
    except InputError as error:
        raise InputError(f"{error}. Or set another sweep.storage") from None
    except Exception as error:  # of any library below Optuna: drivers, SQLAlchemy, Alembic
        raise InputError(f"sweep.storage={url}: Optuna cannot open it: {first_line(error)}") from None


def _enqueue(study: optuna.Study, space: dict[str, CategoricalDistribution]) -> None:
    """Enqueue every combination that is neither finished nor running nor waiting."""
    present = [
        trial.params or trial.system_attrs.get("fixed_params")
        for trial in study.trials
        if trial.state is not TrialState.FAIL
    ]
    for values in itertools.product(*(distribution.choices for distribution in space.values())):
        params = dict(zip(space, values, strict=True))
        if params not in present:
            study.enqueue_trial(params)


def tell_study(study: optuna.Study, number: int, value: Any) -> None:
    """Record the outcome of a trial: finished with a value, pruned, or failed (None, NaN)."""
    if "pruned" in study.trials[number].user_attrs:
        study.tell(number, state=TrialState.PRUNED)
    elif value is None or not math.isfinite(value):
        study.tell(number, state=TrialState.FAIL)
    else:
        study.tell(number, float(value))
