"""Store estimators of scikit-learn without pickle, as the bytes of a skops file."""

from collections.abc import Collection
from io import BytesIO
from typing import Any

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_stored

ESTIMATOR_TYPES = (
    frozenset(  # what our estimators are made of, beyond what skops trusts itself; no prefixes: a file can
        {  # have any function of a trusted name called
            "sklearn.calibration._CalibratedClassifier",
            "sklearn.calibration._SigmoidCalibration",
            "sklearn.metrics._dist_metrics.EuclideanDistance64",
            "sklearn.neighbors._kd_tree.KDTree",
            "sklearn.tree._tree.Tree",
        }
    )
)


def dump_estimator(estimator: Any, whose: str, trusted: Collection[str] = ESTIMATOR_TYPES) -> np.ndarray:
    """Serialize a fitted estimator to uint8 [bytes].

    Args:
        whose: the owner that the error names, such as `back end`.
        trusted: names of the types that `load_estimator` will accept.

    Raises:
        InputError: it is made of another type, so it could not be loaded.
    """
    import skops.io

    stored = skops.io.dumps(estimator)
    _require_known(stored, f"the {whose}", "stored", trusted)
    return np.frombuffer(stored, np.uint8)


def load_estimator(data: np.ndarray, whose: str, trusted: Collection[str] = ESTIMATOR_TYPES) -> Any:
    """Restore an estimator from uint8 [bytes]; arguments as for `dump_estimator`.

    Raises:
        InputError: the bytes name another type.
    """
    import skops.io

    stored = np.asarray(data, np.uint8).tobytes()
    return skops.io.loads(stored, trusted=_require_known(stored, f"the stored {whose}", "loaded", trusted))


def _require_known(stored: bytes, what: str, done: str, trusted: Collection[str]) -> list[str]:
    import skops.io

    require_stored(BytesIO(stored))
    types = skops.io.get_untrusted_types(data=stored)
    if strangers := [name for name in types if name not in trusted]:
        raise InputError(f"{what} names {', '.join(strangers)}: not {done}")
    return types
