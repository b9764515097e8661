"""The checker's end of the examiner, the program that puts questions to an archive's code.

    with Examiner(sandbox, limits) as examiner:
        for report in examiner.reports(package, asks):
            ...

Requests and reports are those of `examiner`. The sandbox's folder `lib` holds that program.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cs236781.grading.examiner import PATIENCE
from cs236781.grading.sandbox import Limits, Sandbox, Talk

_SESSION_SECONDS = 3600  # of processor time; what bounds it is the limit of each exercise
_START_SECONDS = 60  # for PyTorch to be imported, on a busy machine
_SPARE_SECONDS = 20


class Examiner:
    """The process that puts questions to an archive's code; where the code ends it, a new one for what follows."""

    def __init__(self, sandbox: Sandbox, limits: Limits) -> None:
        self._sandbox, self._limits = sandbox, limits
        self._running = ExitStack()
        self._talk: Talk | None = None

    def __enter__(self) -> "Examiner":
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def reports(self, package: Path, asks: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """What it reports of questions; fewer than there are questions, if it was ended."""
        seconds = self._limits.seconds
        try:
            if self._talk is None:
                lib = self._sandbox.folder / "lib"
                command = [sys.executable, "-m", "cs236781.grading.examiner", str(lib)]
                limits = Limits(_SESSION_SECONDS, self._limits.megabytes)
                talk = self._sandbox.talk_to(command, limits, environment={"PYTHONPATH": str(lib)})
                self._talk = self._running.enter_context(talk)
                self._talk.receive(_START_SECONDS)  # it is ready
            self._talk.send({"package": str(package), "seconds": seconds, "asks": asks})
            while True:
                message = self._talk.receive(PATIENCE * seconds + _SPARE_SECONDS)
                if not isinstance(message, dict):
                    raise EOFError("it says what the examiner never does")
                if message.get("done"):
                    return
                yield message
        except (TimeoutError, EOFError, BrokenPipeError):
            self._talk = None
            self._running.close()
