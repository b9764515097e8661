"""Contents, links, names of figures and films of the exported page."""

import base64
import subprocess

import imageio_ffmpeg
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from cs236781.html_export import export_html
from cs236781.jupyter_utils import show_video_in_notebook
from tests.notebooks import write_notebook

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def page(tmp_path):
    def export(*cells, more=()):
        made = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
        paths = [write_notebook(tmp_path / "Part1_A.ipynb", *made)]
        if more:
            paths.append(write_notebook(tmp_path / "Part2_B.ipynb", *map(new_markdown_cell, more)))
        return BeautifulSoup(export_html(paths, tmp_path / "page.html").read_text(), "html.parser")

    return export


def plotted(source, figures=1, kind="image/png", data=PNG):
    outputs = [new_output("display_data", {kind: data, "text/plain": "?"}) for _ in range(figures)]
    return new_code_cell(source, outputs=outputs)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A real film: a second of a test picture."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "testsrc=duration=1:size=64x48"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", str(path)], check=True)
    return new_code_cell(
        "show()", outputs=[new_output("display_data", {"text/html": show_video_in_notebook(path).data})]
    )


# --- headings


@pytest.mark.parametrize(
    ("cells", "title"),
    [
        (["text", "## A *title*  with $x$"], "A title with x"),
        (["text"], "Part1_A"),
        (["# a < b & c"], "a < b & c"),
    ],
)
def test_the_title_is_the_first_heading(page, cells, title):
    assert page(*cells).title.get_text() == title


def test_headings_have_the_ids_that_jupyter_gives_them_and_links(page):
    shown = page("# 1. First part", "## Same", "## Same", more=["# 1. First part"])
    headings = shown.main.find_all(["h1", "h2"])
    assert [heading["id"] for heading in headings] == ["1.-First-part", "Same", "Same-2", "1.-First-part-2"]
    assert [heading.a["href"] for heading in headings] == [f"#{heading['id']}" for heading in headings]


def test_the_contents_lead_to_every_heading_but_small_ones(page):
    shown = page("# Title", "## One", "### Two $x^2$", "#### Small", "## [Three](https://example.com)")
    links = shown.nav.find_all("a")
    assert [link["href"] for link in links] == ["#Title", "#One", "#Two-x2", "#Three"]
    assert links[2].find("math")
    assert len(shown.nav.ol.find_all("li", recursive=False)) == 3
    assert all(shown.find(id=link["href"].removeprefix("#")) for link in links)
    ids = [tag["id"] for tag in shown.find_all(id=True)]
    assert len(ids) == len(set(ids))


def test_a_page_without_headings_has_no_contents(page):
    assert page("text").nav is None


# --- figures


DRAWN = "Figure 1, in the section Head, drawn by"


@pytest.mark.parametrize(
    ("source", "figures", "names"),
    [
        ("# alt: A curve that rises\nplt.title('other')", 1, ["A curve that rises"]),
        ("# alt: One\nplot()\n# ALT:  Two ", 2, ["One", "Two"]),
        ("%matplotlib inline\nplt.title('Reward, in points');", 1, ["Reward, in points"]),
        ("ax.set_title(f'seed {seed}')\nfig.suptitle('All')", 1, ["seed; All"]),
        ("a.set_title('One')\nb.set_title('Two')", 2, ["One", "Two"]),
        ("plots.plot_seeds(runs)", 1, [f"{DRAWN} plots.plot_seeds"]),
        (
            "plots.plot_a()\nplots.plot_b()",
            2,
            [f"{DRAWN} plots.plot_a", f"{DRAWN.replace('1', '2')} plots.plot_b"],
        ),
        ("!ls\nthis is no Python", 1, ["Figure 1, in the section Head"]),
        ("f()", 1, ["Figure 1, in the section Head"]),
    ],
)
def test_names_of_figures(page, source, figures, names):
    shown = page("## Head", plotted(source, figures))
    assert [image["alt"] for image in shown.find_all("img")] == names


def test_a_name_is_not_among_the_code_that_is_shown(page):
    names = ["One", "Two", "Three", "Four", "Five", "Six"]
    one, two, three, four, five, six = (f"# alt: {name}\n" for name in names)
    source = f"{one}{two}if x:\n    {three}    {four}    f()\n\n{five}{six}g()  # alt: no name\n# a remark"
    shown = page(plotted(source, 6))
    assert [image["alt"] for image in shown.find_all("img")] == names
    assert shown.select_one(".jp-InputArea pre").text.strip("\n") == (
        "if x:\n    f()\n\ng()  # alt: no name\n# a remark"
    )


def test_figures_that_are_named_already_keep_their_names(page):
    shown = page(plotted("f()", kind="text/html", data=f'<img alt="A name" src="data:image/png;base64,{PNG}">'))
    assert shown.img["alt"] == "A name"


def test_drawings_and_pictures_in_html_are_named(page):
    drawing = plotted("# alt: A drawing", kind="text/html", data="<svg></svg>")
    named = plotted("f()", kind="text/html", data='<svg aria-label="A name of its own"></svg>')
    assert page("# Title", named).main.svg["aria-label"] == "A name of its own"
    picture = plotted("# alt: A picture", kind="text/html", data=f'<img src="data:image/png;base64,{PNG}">')
    shown = page(drawing, picture)
    assert (shown.main.svg["aria-label"], shown.main.svg["role"]) == ("A drawing", "img")
    assert shown.img["alt"] == "A picture"


def test_an_output_may_hold_the_page_of_a_notebook(page):
    html = '<main><div class="jp-CodeCell jp-Notebook-cell"><div class="jp-OutputArea"><img></div></div></main>'
    assert page("# Title", plotted("# alt: A page", kind="text/html", data=html)).img["alt"] == "A page"


def test_outputs_are_out_of_the_tab_order(page):
    shown = page("# x", plotted("f()", kind="text/html", data='<table tabindex="0"><tr><td>1</td></tr></table>'))
    assert [tag for tag in shown.select("[tabindex]") if tag["tabindex"] != "-1"] == []


def test_tables_figures_and_long_formulas_are_in_boxes_that_scroll(page):
    shown = page("|a|b|\n|-|-|\n|1|2|", "$$" + "a + " * 20 + "b$$", plotted("f()"))
    for tag in (shown.table, shown.select_one(".formula"), shown.img):
        box = tag.find_parent(class_="scroll")
        assert box.select_one(".scroll-stop")["href"] == f"#{box['id']}"


# --- films


def test_a_film_has_a_name_and_a_still_that_is_what_paper_shows(page, film):
    shown = page("## Landing", film)
    assert shown.video["aria-label"] == "Film 1, in the section Landing"
    assert base64.b64decode(shown.video["poster"].removeprefix("data:image/jpeg;base64,")).startswith(b"\xff\xd8")
    assert shown.img["src"] == shown.video["poster"]
    assert shown.img["alt"] == shown.video["aria-label"]
    assert "autoplay" not in shown.video.attrs


def test_a_film_that_cannot_be_read_is_named_in_a_warning(page, caplog):
    html = '<video src="data:video/mp4;base64,AAAA"></video>'
    shown = page(plotted("f()", kind="text/html", data=html))
    assert "poster" not in shown.video.attrs
    assert "no still picture" in caplog.text
