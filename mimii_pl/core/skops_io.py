"""Store estimators of scikit-learn without pickle, as the bytes of a skops file."""

from typing import Any

import numpy as np

from mimii_pl.core.errors import InputError

TRUSTED = ("numpy.", "scipy.", "sklearn.")  # packages whose types may be read back


def dump_estimator(estimator: Any) -> np.ndarray:
    """Serialize a fitted estimator to uint8 [bytes]."""
    import skops.io

    return np.frombuffer(skops.io.dumps(estimator), np.uint8)


def load_estimator(data: np.ndarray, whose: str, trusted: tuple[str, ...] = TRUSTED) -> Any:
    """Restore an estimator from uint8 [bytes].

    Args:
        whose: the owner that the error names, such as `back end`.
        trusted: prefixes of the types that may be read back.

    Raises:
        InputError: the bytes name another type.
    """
    import skops.io

    stored = np.asarray(data, np.uint8).tobytes()
    types = skops.io.get_untrusted_types(data=stored)
    strangers = [name for name in types if not name.startswith(trusted)]
    if strangers:
        raise InputError(f"the stored {whose} names {', '.join(strangers)}: not loaded")
    return skops.io.loads(stored, trusted=types)
