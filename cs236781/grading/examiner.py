"""A program that puts questions to code that may be wrong or hostile, and passes its replies on.

    python -m cs236781.grading.examiner PROJECT REQUESTS REPORTS

PROJECT is a folder that holds the asks. What they need is imported once. Then the program reads requests, one on a
line, and for each forks a process that imports the code and puts the questions to it. REQUESTS and REPORTS are
descriptors.

    {"package": FOLDER, "seconds": 10, "asks": [[NONCE, GROUP, ASK, INPUTS], ...]}

    {"ready": true}                                               at first
    {"nonce": NONCE, "value": ..., "error": ..., "place": ...}    a reply
    {"nonce": NONCE, "ended": "it did not end"}                   the process ended over this question
    {"nonce": NONCE, "skipped": true}                             a question of a group that has ended a process
    {"left": 2}                                                   processes that were still running afterwards
    {"done": true}                                                the request is

What is right is not known here. A nonce is good for one reply, and a question's nonce is all that the code can learn.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cs236781.checks import load_asks, put

_PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 3  # the time on the clock, in processor time
_MAX_REPLY_BYTES = 200_000
_MAX_STARTS = 8  # of processes for one request
_MAX_TIMEOUTS = 2  # of them; what is not asked then is asked again, exercise by exercise
_GRACE = 1.0  # seconds that what the code started has to end by itself

NO_END = "it did not end in time"

Report = dict[str, Any]
Question = tuple[str, str, str, dict[str, Any]]  # nonce, group, ask, inputs


def main(arguments: list[str]) -> None:
    """The program."""
    folder, requests, reports = arguments[0], int(arguments[1]), int(arguments[2])
    if sys.platform == "linux":  # so that what the code leaves behind comes here
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    asks = load_asks(Path(folder))
    with os.fdopen(requests) as source, os.fdopen(reports, "w") as target:
        print(json.dumps({"ready": True}), file=target, flush=True)
        for line in source:
            request = json.loads(line)
            for report in examine(asks, request):
                print(json.dumps(report), file=target, flush=True)


def examine(asks: dict[str, Callable[..., Any]], request: Report) -> Iterator[Report]:
    """Put a request's questions."""
    left: list[Question] = [tuple(question) for question in request["asks"]]
    seconds, starts, timeouts = float(request["seconds"]), 0, 0
    while left and starts < _MAX_STARTS and timeouts < _MAX_TIMEOUTS:
        starts += 1
        process = _Examined(asks, left, request["package"], seconds)
        for reply in process.replies():
            left.pop(0)
            yield reply
        timeouts += process.ended == NO_END
        if left:
            nonce, group, *_ = left.pop(0)
            yield {"nonce": nonce, "ended": process.ended}
            yield from ({"nonce": question[0], "skipped": True} for question in left if question[1] == group)
            left = [question for question in left if question[1] != group]
        if process.left:
            yield {"left": process.left}
    yield from ({"nonce": question[0], "skipped": True} for question in left)
    yield {"done": True}


class _Examined:
    """A process with the code, to which some questions are put.

    :param ended: how it ended, in words.
    :param left: how many processes it left behind.
    """

    def __init__(
        self, asks: dict[str, Callable[..., Any]], questions: list[Question], package: str, seconds: float
    ) -> None:
        self.ended, self.left = "", 0
        self._questions, self._seconds = list(questions), seconds
        self._replies, replies = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _answer(asks, questions, package, seconds, replies)
        os.close(replies)

    def replies(self) -> Iterator[Report]:
        """The replies, in the order of the questions, until one fails to come."""
        read, end = b"", time.monotonic() + PATIENCE * self._seconds
        for nonce, *_ in self._questions:
            while b"\n" not in read:
                more = b""
                if select.select([self._replies], [], [], max(0.0, end - time.monotonic()))[0]:
                    more = os.read(self._replies, 1 << 16)
                read += more
                if not more or len(read) > 2 * _MAX_REPLY_BYTES:
                    self._end(timed_out=time.monotonic() >= end)
                    return
            line, _, read = read.partition(b"\n")
            try:
                reply = json.loads(line)
            except (ValueError, RecursionError):
                reply = None
            if not isinstance(reply, dict) or reply.get("nonce") != nonce:
                self._end(timed_out=False)
                self.ended = "it wrote into the report"
                return
            yield {name: reply.get(name) for name in ("nonce", "value", "error", "place")}
            end = time.monotonic() + PATIENCE * self._seconds
        self._end(timed_out=False, waits=True)

    def _end(self, *, timed_out: bool, waits: bool = False) -> None:
        """End the process, and what it left."""
        end = time.monotonic() + (_GRACE if waits else 0.2)
        pid, status = 0, 0
        while not pid and not timed_out and time.monotonic() < end:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            time.sleep(0 if pid else 0.005)
        if not pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if timed_out or code == -signal.SIGXCPU:
            self.ended = NO_END
        elif not pid:
            self.ended = "it closed the report"
        else:
            self.ended = f"it ended its process ({f'signal {-code}' if code < 0 else f'exit status {code}'})"
        os.close(self._replies)
        self.left = _end_children(_GRACE)


def _end_children(seconds: float) -> int:
    """Wait for what is left, and end it; returns how many processes had to be ended."""
    end, found = time.monotonic() + seconds, set[int]()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return len(found)
        if pid == 0:
            if time.monotonic() > end:
                children = Path(f"/proc/self/task/{os.getpid()}/children")
                for child in children.read_text().split() if children.exists() else ():
                    found.add(int(child))
                    with suppress(ProcessLookupError):
                        os.kill(int(child), signal.SIGKILL)
            time.sleep(0.01)


def _answer(
    asks: dict[str, Callable[..., Any]], questions: list[Question], package: str, seconds: float, replies: int
) -> None:
    """In the new process: import the code, and reply to the questions."""
    status = 1
    try:
        os.closerange(replies + 1, 1000)
        for descriptor in range(3, replies):
            with suppress(OSError):
                os.close(descriptor)
        sys.path.insert(0, package)
        os.chdir(os.environ["TMPDIR"])
        group = None
        for nonce, own_group, ask, inputs in questions:
            if own_group != group:  # each has the whole time
                group = own_group
                used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
                _, hard = resource.getrlimit(resource.RLIMIT_CPU)
                resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, hard))
            reply = put(asks[ask], inputs, Path(package) / "hw4")
            line = json.dumps({"nonce": nonce, "value": reply.value, "error": reply.error, "place": reply.place})
            if len(line) > _MAX_REPLY_BYTES:
                line = json.dumps({"nonce": nonce, "error": "ValueError: the value is too long to be reported"})
            os.write(replies, line.encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
