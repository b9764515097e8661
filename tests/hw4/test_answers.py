"""The written answers are there; whether they are right is for a person to say."""

import pytest

from cs236781.exercises import NOT_WRITTEN
from hw4 import answers


@pytest.mark.parametrize("question", ["part1_q1", "part1_q2", "part1_q3"])
def test_the_question_is_answered(question):
    answer = getattr(answers, question)
    assert NOT_WRITTEN not in answer, answer
    assert answer.strip()
