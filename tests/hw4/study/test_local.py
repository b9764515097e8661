"""Functions called in processes of this machine: what becomes of the processes."""

import subprocess
import sys

from hw4.study import local


def test_a_process_that_is_killed_ends_the_others():
    """As for want of memory. What each runs is a text."""
    killed, long = "__import__('os').kill(__import__('os').getpid(), 9)", "__import__('time').sleep(1000)"
    outcomes = dict(local.call_each(eval, [(long,), (killed,)], at_once=2))
    assert outcomes.keys() == {0, 1}
    assert all("BrokenProcessPool" in error for error in outcomes.values())


def test_a_process_watches_its_parent_before_it_loads_what_takes_seconds():
    program = "import sys, hw4.study.local; print(sorted({'torch', 'pandas', 'matplotlib'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
