"""The checks of `tests/checks`, put to this code. A failure says what is right, and the known mistake that gives it."""

from pathlib import Path
from random import Random

import pytest

import hw4
from cs236781.checks import judge, load_asks, load_checks, put

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(hw4.__file__).parent
ASKS, CHECKS = load_asks(ROOT), load_checks(ROOT)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_check(check):
    inputs = check.draw(Random(0))
    reply = put(ASKS[check.ask], inputs, PACKAGE)
    finding = judge(check, inputs, reply)
    if not finding.passed:
        if reply.exception is not None:
            raise reply.exception
        hint = f"\n{finding.hint}" if finding.hint else ""
        pytest.fail(f"{finding.asked}\n\nexpected: {finding.expected}\ngot:      {finding.got}{hint}", pytrace=False)
