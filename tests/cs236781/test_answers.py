import pytest
from IPython.display import Markdown

from cs236781 import answers


def test_an_answer_is_shown_under_a_heading(monkeypatch):
    shown = []
    monkeypatch.setattr(answers, "display", shown.append)
    answers.display_answer("""
        **Because** $x$.
    """)
    assert isinstance(shown[0], Markdown)
    assert shown[0].data == "#### Answer\n\n**Because** $x$."


@pytest.mark.parametrize("text", ["", "  \n\t"])
def test_an_empty_answer(text):
    with pytest.raises(ValueError, match="empty"):
        answers.display_answer(text)


@pytest.mark.parametrize("text", [None, 3, b"bytes", ["a"]])
def test_an_answer_that_is_no_text(text):
    with pytest.raises(TypeError, match="string of Markdown"):
        answers.display_answer(text)
