"""One function, called with many arguments on a Slurm cluster, as the tasks of one array job.

submitit writes the batch script and carries the function there. Tasks that ended without an answer are found in the
queue, by this module: submitit would ask the accounting database, and small clusters have none.
"""

import contextlib
import hashlib
import io
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from submitit import Job, SlurmExecutor
from submitit.core.utils import FailedJobError

PROJECT = Path(__file__).resolve().parents[2]
HOURS = 3  # a task's limit: the longest run needs minutes, and Slurm starts a short job sooner
LOOK_SECONDS = 1.0  # between looks for answers
QUEUE_SECONDS = 5.0  # between looks at the queue; all users of the cluster share it
ANSWER_SECONDS = 15.0  # wait for the answer of a task that has ended: shared file systems may show it late

GONE = "GONE"  # not in the queue: Slurm forgets a task some minutes after its end
OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT", GONE),
}


def call_each(
    function: Callable[..., None],
    arguments: Sequence[tuple[Any, ...]],
    folder: Path,
    *,
    at_once: int | None = None,
    partition: str | None = None,
) -> Iterator[tuple[int, str | None]]:
    """Call a function with each tuple of arguments, in one array job, a processor for each task.

    When the iteration ends early, by Ctrl-C for example, the tasks that are left are cancelled.

    :param folder: for the job's files. All machines of the cluster must see it. A job is known by its folder.
    :param at_once: how many tasks may run at a time; None for as many as the cluster allows.
    :return: yields, as each task ends, the number of its arguments, and None or why it failed.
    :raises RuntimeError: if there is no Slurm here, if it refuses the job, or if it still has one with this folder.
    """
    if shutil.which("sbatch") is None:
        raise RuntimeError("there is no Slurm on this machine (no sbatch): run it where there is, or on cluster local")
    folder = folder.absolute()
    name = f"{PROJECT.name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}"
    for task_id, state in (_queue(name) or {}).items():
        if state not in {*OVER, "COMPLETING"}:
            job_id = task_id.partition("_")[0]
            raise RuntimeError(f"job {job_id} for this file is still in the queue: let it end, or 'scancel {job_id}'")
    executor = SlurmExecutor(folder)
    executor.update_parameters(
        job_name=name,
        time=60 * HOURS,
        cpus_per_task=1,
        array_parallelism=at_once or len(arguments),
        setup=[f"export PYTHONPATH={shlex.quote(str(PROJECT))}${{PYTHONPATH:+:$PYTHONPATH}}"],
        **({"partition": partition} if partition else {}),
    )
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it prints what it raises
            tasks = executor.map_array(function, *zip(*arguments, strict=True))
    except FailedJobError as error:
        raise RuntimeError(f"Slurm refused the job: {error}") from error
    waiting = {task.job_id: (number, task) for number, task in enumerate(tasks)}
    try:
        yield from _outcomes(waiting, name, folder)
    finally:
        if waiting:
            subprocess.run(["scancel", tasks[0].job_id.partition("_")[0]], check=False)


def _outcomes(waiting: dict[str, tuple[int, Job[None]]], name: str, folder: Path) -> Iterator[tuple[int, str | None]]:
    """The outcome of each waiting task, as it ends. It is then taken out of `waiting`."""
    looked = time.monotonic()
    over: dict[str, tuple[float, str]] = {}  # tasks that have ended: seen since when, and how
    while waiting:
        time.sleep(LOOK_SECONDS)
        now = time.monotonic()
        if now - looked > QUEUE_SECONDS and (states := _queue(name)) is not None:
            looked = now
            ended = {task_id: states.get(task_id, GONE) for task_id in waiting}
            over = {task_id: over.get(task_id, (now, state)) for task_id, state in ended.items() if state in OVER}
        answers = {path.name for path in folder.iterdir()}  # a listing is fresh where a look at one file may not be
        for task_id, (number, task) in list(waiting.items()):
            if task.paths.result_pickle.name in answers:
                del waiting[task_id]
                error = task.exception()
                yield number, None if error is None else _reason(error)
            elif task_id in over and now - over[task_id][0] > ANSWER_SECONDS:
                del waiting[task_id]
                yield number, f"Slurm ended it ({over[task_id][1]}); its log is {task.paths.stderr}"


def _queue(name: str) -> dict[str, str] | None:
    """{task id: state} of a job, with tasks that ended not long ago; None where Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--name={name}", "--format=%i %T"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if answer.returncode else dict(line.split() for line in answer.stdout.splitlines())


def _reason(error: Exception) -> str:
    """The last line of the traceback that submitit's error quotes between dashed lines."""
    trace = str(error).split("\n----------------------\n")[1:2]
    return trace[0].rstrip().splitlines()[-1] if trace else str(error)
