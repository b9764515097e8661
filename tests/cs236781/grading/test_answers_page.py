import base64

import pytest
from bs4 import BeautifulSoup

from cs236781.grading import answers_page
from cs236781.grading.answers_page import write_answers_page
from cs236781.grading.verdicts import Submission

QUESTIONS = ["q1", "q2"]
PNG = b"\x89PNG\r\n\x1a\nrest"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"

ONE = Submission("in/hw4-1_2.zip", ["1", "2"], answers={"q1": "**Because** $x^2$.", "q2": "  \n"})
TWO = Submission("in/hw4-3.zip", ["3"], "timed out", answers={"q2": "So.", "other": "not asked"})
EVIL = Submission(HOSTILE, [HOSTILE], HOSTILE, answers={"q1": HOSTILE})
ENDS = Submission("hw4-4.zip", ["4"], answers={"q2": f"ends {HOSTILE}"})  # the process that renders it, say
LONG = Submission("late work.zip", [], answers={"q1": "x" * 10_000 + "y" * 50})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("answers") / "answers.html"
    render = answers_page.inert_html

    def rendered(authors):
        return render([{name: text for name, text in own.items() if "ends" not in text} for own in authors])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers_page, "inert_html", rendered)
        write_answers_page([ONE, TWO, EVIL, LONG, ENDS], file, QUESTIONS, {ONE.archive: PNG, "of another": PNG})
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


def cards(page, question):
    section = page.find("h2", string=question).find_parent("section")
    return {card.h3.get_text(): card for card in section.find_all("article")}


def test_each_question_has_a_card_for_each_archive(page):
    for question in QUESTIONS:
        assert list(cards(page, question)) == ["1, 2", "3", HOSTILE, "late work.zip", "4"]


def test_answers_are_rendered(page):
    card = cards(page, "q1")["1, 2"]
    assert card.strong.get_text() == "Because"
    assert card.msup.get_text() == "x2"
    assert card.find("p", class_="archive").get_text() == "hw4-1_2.zip"


def test_missing_answers_are_shown_as_missing(page):
    assert cards(page, "q2")["1, 2"].find("p", class_="missing").get_text() == "No answer"
    assert cards(page, "q1")["3"].find("p", class_="missing").get_text() == "No answer: timed out"
    assert cards(page, "q2")["3"].find("p", class_="missing") is None


def test_how_many_answered_is_counted(page):
    assert [item.get_text() for item in page.ul.find_all("li")] == [
        "q1: 3 of 5 answered",
        "q2: 2 of 5 answered",
        "Learning curves",
    ]


def test_links_lead_within_the_page(page):
    assert [page.find(id=link["href"].removeprefix("#")).get_text() for link in page.ul.find_all("a")] == [
        "q1",
        "q2",
        "Learning curves",
    ]


def test_what_cannot_be_rendered_is_shown_as_its_source(page):
    card = cards(page, "q2")["4"]
    assert card.find("p", class_="missing").get_text() == "This cannot be shown as Markdown. Its source:"
    assert card.pre.get_text().endswith(HOSTILE)


def test_a_long_answer_is_cut(page):
    card = cards(page, "q1")["late work.zip"]
    assert "y" not in card.p.find_next("div").get_text()
    assert "50 more characters are left out." in card.get_text()


def test_hostile_text_is_shown_and_does_nothing(page):
    assert page.find_all(["script", "iframe", "object", "form", "base"]) == []
    assert [image["src"][:15] for image in page.find_all("img")] == ["data:image/png;"]
    assert page.find_all(onerror=True) == []
    assert HOSTILE in cards(page, "q1")[HOSTILE].find("div").get_text()
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_plots_are_inside_with_a_name(page):
    (picture,) = page.find_all("img")
    assert base64.b64decode(picture["src"].partition(",")[2]) == PNG
    assert picture["alt"] == "Learning curves of 1, 2"


def test_a_plot_that_is_no_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the plot of in/hw4-1_2\.zip is no PNG picture"):
        write_answers_page([ONE], tmp_path / "a.html", QUESTIONS, {ONE.archive: b"<svg onload=alert(1)>"})


def test_a_course_without_archives_has_an_empty_page(tmp_path):
    write_answers_page([], tmp_path / "a.html", QUESTIONS)
    assert "q1</a>: 0 of 0 answered" in (tmp_path / "a.html").read_text()
