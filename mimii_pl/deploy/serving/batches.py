"""Windows of requests that arrive together are scored together, in one thread."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from mimii_pl.scoring.timeline import TimelineBuilder, WindowScorer, score_windows

GATHERING = 0.01  # s that the first of a batch waits for others
WindowOf = tuple[TimelineBuilder, int, np.ndarray]  # recording, number of the window, int16 [samples] or [C, samples]


class _Waiting(NamedTuple):
    windows: Sequence[WindowOf]
    id_number: int
    done: "asyncio.Future[None]"


class Batches:
    """Collects windows and scores them.

    Args:
        scorer: of one model.
        size: windows of a batch; those that are sent in one call stay together.
        thread: that scores; it must be the only one of its executor.
        note: called with the number of windows of each batch.
    """

    def __init__(self, scorer: WindowScorer, size: int, thread: Executor, note: Callable[[int], object]) -> None:
        self.scorer, self.size, self.thread, self.note = scorer, size, thread, note
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def score(self, windows: Sequence[WindowOf], id_number: int) -> None:
        """Score windows of a recording of a machine ID, and set their scores in its builder."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(windows, id_number, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await done

    async def _run(self) -> None:
        await asyncio.sleep(GATHERING)
        while self._waiting:
            taken = [self._waiting.popleft()]
            count = len(taken[0].windows)
            while self._waiting and count + len(self._waiting[0].windows) <= self.size:
                taken.append(self._waiting.popleft())
                count += len(taken[-1].windows)
            windows = [window for one in taken for window in one.windows]
            ids = np.repeat([one.id_number for one in taken], [len(one.windows) for one in taken])
            self.note(count)
            error: BaseException | None = None
            try:
                await asyncio.get_running_loop().run_in_executor(self.thread, score_windows, self.scorer, windows, ids)
            except Exception as reason:
                error = reason
            for one in taken:
                if one.done.done():  # its request was cancelled
                    continue
                if error is None:
                    one.done.set_result(None)
                else:
                    one.done.set_exception(error)
