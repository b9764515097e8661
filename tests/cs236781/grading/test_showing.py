import pytest
from bs4 import BeautifulSoup
from hypothesis import example, given
from hypothesis import strategies as st
from nbconvert.filters.markdown_mistune import HTMLRenderer, Markdown, import_plugin

from cs236781.grading.showing import MAX_LINES, fenced, markdown, number, one_line, passes_bar, reward, visible

READER = Markdown(
    HTMLRenderer(escape=False), plugins=map(import_plugin, ["strikethrough", "table", "task_lists", "math"])
)


def read(text):
    """What a reader of Markdown sees, whitespace aside."""
    page = BeautifulSoup(READER(text), "html.parser")
    assert {tag.name for tag in page.find_all(True)} <= {"p", "pre", "code"}
    return page.get_text()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (3.0, "3"), (100, "100"), (2.5, "2.5"), (100 / 3, "33.33"), (1234567.0, "1234567"), (-1e300, "-1e+300")],
)
def test_numbers_are_short(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize("text", ["a", "two\nlines\tand a tab", "שלום, π ≈ 3", "a b"])
def test_plain_text_stays(text):
    assert visible(text, 100) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\0b", r"a\x00b"),
        ("evil\u202etxt.exe", r"evil\u202etxt.exe"),
        ("no\u200bthing", r"no\u200bthing"),
        ("half \ud800", r"half \ud800"),
        ("one\u2028two", r"one\u2028two"),
        ("windows\r\nlines", "windows\nlines"),
        ("over\rwritten", r"over\rwritten"),
    ],
)
def test_what_is_not_seen_is_shown_as_an_escape(text, shown):
    assert visible(text, 100) == shown


def test_the_middle_of_a_long_text_is_left_out():
    shown = visible("a" * 5000 + "b" * 5000, 100)
    assert shown == "a" * 75 + " … (9900 characters left out) … " + "b" * 25


def test_most_of_many_lines_are_left_out():
    shown = visible("\n".join(map(str, range(100))), 1000).split("\n")
    assert len(shown) == MAX_LINES - 10 + 1 + 10
    assert shown[0] == "0"
    assert shown[30] == "… (60 lines left out) …"
    assert shown[31:] == [str(n) for n in range(90, 100)]


def test_one_line_is_one():
    assert one_line("  a\n\n b\tc\r\n\x85d\u2028 ", 100) == "a b c d"


@pytest.mark.parametrize(
    "line",
    [
        "<script>alert(1)</script>",
        "&lt;b&gt;",
        "![picture](http://x.org/y.png) [a](javascript:b)",
        "**bold** _slanted_ __init__ snake_case a_ ~~gone~~ `code`",
        "# no heading",
        "- no list",
        "+ no list",
        "1. no list",
        "12) no list",
        "> no quote",
        "===",
        "---",
        "| no | table |",
        "$x^2$ and \\(y\\) and \\[z\\]",
        "\\begin{align}x\\end{align}",
        "a\\",
        "```",
        "<!-- gone",
    ],
)
def test_markdown_of_a_line_shows_the_line(line):
    assert read(markdown(line)).strip() == line


def test_names_stay_readable_in_markdown():
    assert markdown("hw4/rl_data.py:12: Episode.calc_qvals") == "hw4/rl_data.py:12: Episode.calc_qvals"


@given(st.text(st.sampled_from("ab1 _*`<>&|#[]()!~$\\-+=.:/\"'{}^")))
def test_markdown_makes_nothing_of_any_line(line):
    line = " ".join(line.split())
    assert read(markdown(line)).strip() == line


@given(st.text(st.sampled_from("a `~<&\n$\\")))
@example("````\n~~~\n<b>")
def test_a_fenced_text_is_shown_as_it_is(text):
    assert read(fenced(text)).rstrip("\n") == text.rstrip("\n")


def test_a_bar_is_passed_above_it():
    assert passes_bar({"best_mean_reward": 10.5, "bar": 10}) is True
    assert passes_bar({"best_mean_reward": 10.0, "bar": 10}) is False
    assert passes_bar({"best_mean_reward": float("nan"), "bar": 10}) is False
    assert passes_bar({"bar": 10}) is False
    assert passes_bar({"best_mean_reward": 10}) is None


def test_a_reward_that_is_no_number_is_none():
    assert reward({"best_mean_reward": float("inf")}) is None
    assert reward({"best_mean_reward": "=1"}) is None
