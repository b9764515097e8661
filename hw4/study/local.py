"""One function, called with many arguments in processes of this machine.

A process that is started imports this module before the function's. So it is a light one: the process ends with its
sweep from then on, and what a sweep imports takes seconds.
"""

import contextlib
import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any


def call_each(
    function: Callable[..., None], arguments: Sequence[tuple[Any, ...]], *, at_once: int
) -> Iterator[tuple[int, str | None]]:
    """As `slurm.call_each`, in so many processes."""
    with _out_of_reach():  # this starts the one that cleans up
        executor = ProcessPoolExecutor(min(at_once, max(1, len(arguments))), mp.get_context("spawn"), _begin)
    try:
        with _out_of_reach():  # and this the others
            futures = {executor.submit(function, *these): number for number, these in enumerate(arguments)}
            executor.submit(int)  # whoever watches the processes looks at them anew: the last came after its last look
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], None if error is None else f"{type(error).__name__}: {error}"
    except BaseException:  # Ctrl-C must not wait for runs that take minutes
        for process in list(executor._processes.values()):
            process.kill()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _out_of_reach() -> Iterator[None]:
    """Start processes that Ctrl-C and a hang-up do not reach: the sweep answers these, and ends the processes.

    One in the middle of its imports, or the one that multiprocessing cleans up with, would show a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Have this process end when the one that started it is gone, even by SIGKILL."""

    def wait() -> None:
        parent = mp.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    if hasattr(signal, "pthread_sigmask"):  # by this signal the executor ends the others where one has died
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
