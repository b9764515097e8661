"""Showing a written answer in a notebook."""

from textwrap import dedent

from IPython.display import Markdown, display


def display_answer(text: str) -> None:
    """Show an answer, written in Markdown with formulas between dollars, under a heading.

    :raises TypeError: text is not a string.
    :raises ValueError: it is empty.
    """
    if not isinstance(text, str):
        raise TypeError(f"an answer is a string of Markdown, not {type(text).__name__}")
    if not text.strip():
        raise ValueError("the answer is empty: write it in hw4/answers.py")
    display(Markdown(f"#### Answer\n\n{dedent(text).strip()}"))
