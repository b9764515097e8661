"""The mark on what the assignment asks a student to write.

`python main.py prepare-dist` makes the students' copy from it: there the body is gone, and the task stands in its
place. Here it changes nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def exercise(task: str, *, start: Any = None) -> Callable[[Function], Function]:
    """Mark a function as an exercise; what is returned for it is the function itself.

    Beside staticmethod or classmethod, it stands below them.

    :param task: what is to be written, in a sentence or two: literally a string, for it is read from the source.
    :param start: what the students' function returns until they write it, where the course gives a first solution;
        without one it raises NotImplementedError.
    """
    del task, start  # they are there to be read

    def mark(function: Function) -> Function:
        return function

    return mark
