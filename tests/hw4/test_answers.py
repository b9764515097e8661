"""The hyperparameters have what training asks for, and the questions are answered. How well is for a person to say."""

import pytest

from cs236781.exercises import NOT_WRITTEN
from hw4 import answers


@pytest.mark.parametrize("name", ["part1_pg_hyperparams", "part1_aac_hyperparams"])
def test_hyperparameters_have_the_published_names(name):
    published = {"batch_size", "gamma", "beta", "learn_rate", "eps"}  # a network's own names are its own affair
    assert published | ({"delta"} if "aac" in name else set()) <= set(getattr(answers, name)())


@pytest.mark.parametrize("question", ["part1_q1", "part1_q2", "part1_q3"])
def test_the_question_is_answered(question):
    answer = getattr(answers, question)
    assert NOT_WRITTEN not in answer, answer
    assert answer.strip()
