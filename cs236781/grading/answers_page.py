"""One page with the answers of all archives, question by question, and with their learning curves.

    write_answers_page(submissions, "answers.html", ["part1_q1", "part1_q2", "part1_q3"], plots)

A person reads it beside the marks. The answers are made inert: see `grading/inert.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cs236781.files import write_whole
from cs236781.grading.inert import inert_html
from cs236781.grading.page import TEMPLATES, page
from cs236781.grading.showing import one_line, visible
from cs236781.grading.verdicts import Submission
from cs236781.jupyter_utils import data_url

_MAX_ANSWER = 10_000  # characters; the longest of the project's own has 5000
_MAX_NAME = 100

_PNG = b"\x89PNG\r\n\x1a\n"


def write_answers_page(
    submissions: Sequence[Submission],
    path: str | Path,
    questions: Sequence[str],
    plots: Mapping[str, bytes] | None = None,
) -> None:
    """Write the page.

    :param questions: their names, as `Submission.answers` has them.
    :param plots: PNG pictures of learning curves, by the archive; those of other archives are left out.
    :raises ValueError: a plot is no PNG picture.
    :raises OSError: the page cannot be written.
    """
    plots = plots or {}
    for archive, data in plots.items():
        if not data.startswith(_PNG):
            raise ValueError(f"the plot of {archive} is no PNG picture")
    written = [
        {name: text for name in questions if (text := submission.answers.get(name, "")).strip()}
        for submission in submissions
    ]
    shown = inert_html([{name: text[:_MAX_ANSWER] for name, text in texts.items()} for texts in written])
    sections = []
    for question in questions:
        cards = [
            {
                **_head(submission),
                "html": html.get(question),
                "source": visible(texts.get(question, ""), _MAX_ANSWER),
                "left_out": max(0, len(texts.get(question, "")) - _MAX_ANSWER),
                "status": "" if submission.status == "ok" else one_line(submission.status, 300),
            }
            for submission, texts, html in zip(submissions, written, shown, strict=True)
        ]
        answered = sum(bool(card["source"]) for card in cards)
        sections.append({"name": question, "cards": cards, "answered": answered})
    curves = [
        {**_head(submission), "address": data_url("image/png", plots[submission.archive])}
        for submission in submissions
        if submission.archive in plots
    ]
    body = _BODY.render(sections=sections, curves=curves, count=len(submissions))
    write_whole(path, page("Answers", body, _RULES))


def _head(submission: Submission) -> dict[str, str]:
    archive = one_line(Path(submission.archive).name, _MAX_NAME)
    return {"who": one_line(", ".join(submission.ids), _MAX_NAME) or archive, "archive": archive}


_BODY = TEMPLATES.from_string(
    """\
<h1>Answers</h1>
<ul class="questions">
{% for section in sections %}
<li><a href="#question-{{ loop.index }}">{{ section.name }}</a>: {{ section.answered }} of {{ count }} answered</li>
{% endfor %}
{% if curves %}
<li><a href="#curves">Learning curves</a></li>
{% endif %}
</ul>
{% for section in sections %}
<section>
<h2 id="question-{{ loop.index }}">{{ section.name }}</h2>
<div class="cards">
{% for card in section.cards %}
<article>
<h3>{{ card.who }}</h3>
<p class="archive">{{ card.archive }}</p>
{% if not card.source %}
<p class="missing">No answer{% if card.status %}: {{ card.status }}{% endif %}</p>
{% elif card.html is none %}
<p class="missing">This cannot be shown as Markdown. Its source:</p>
<pre dir="auto">{{ card.source }}</pre>
{% else %}
<div dir="auto">{{ card.html | safe }}</div>
{% endif %}
{% if card.left_out %}
<p class="missing">{{ card.left_out }} more characters are left out.</p>
{% endif %}
</article>
{% endfor %}
</div>
</section>
{% endfor %}
{% if curves %}
<section>
<h2 id="curves">Learning curves</h2>
<div class="cards">
{% for curve in curves %}
<figure>
<img src="{{ curve.address }}" alt="Learning curves of {{ curve.who }}">
<figcaption>{{ curve.who }} <span class="archive">{{ curve.archive }}</span></figcaption>
</figure>
{% endfor %}
</div>
</section>
{% endif %}
"""
)

# An answer stays within its card, whatever its formulas' sizes and places. A card has room for some 8000 characters.
_RULES = """
main { max-width: none; }
.questions { padding-left: 1.2em; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1rem;
  align-items: start; }
article, figure { margin: 0; padding: 0.8rem; border: 1px solid var(--page-line); border-radius: 6px;
  contain: paint; overflow: auto; max-height: 180rem; }
article :is(th, td) { overflow-wrap: normal; }
article h3 { margin: 0; }
h4, h5, h6 { margin: 1em 0 0.3em; font-size: 1rem; }
.archive { margin: 0; font-size: 0.875rem; color: var(--jp-content-font-color2); }
.missing { color: var(--page-red); font-style: italic; }
.formula { display: block; overflow-x: auto; overflow-y: hidden; padding: 0.15rem 0; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math; }
blockquote { margin: 0.5em 0; padding-left: 0.8em; border-left: 3px solid var(--page-line); }
figure img { max-width: 100%; height: auto; background: #fff; }
@media print {
  .cards { display: block; }
  article, figure { margin-bottom: 1rem; max-height: none; }
  figure { break-inside: avoid; }
}
"""
