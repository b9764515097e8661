"""The exported page: what is in it, and that nothing is missing without the network."""

import re

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from cs236781.html_export import export_html
from cs236781.jupyter_utils import show_video_in_notebook
from tests.notebooks import write_notebook

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MP4 = b"\0\0\0\x20ftypisom" + bytes(64)

FORMULAS = [
    r"\pi_{\vec{\theta}}(a|s) = \Pr[A_t = a \mid S_t = s]",
    r"\hat{\nabla}_{\pmb\theta} \mathcal{L} = -\frac{1}{N}\sum_{i=1}^{N}\sum_{t\ge 0} \gamma^{t'-t} r_{t'+1}",
    r"\begin{align} a &= b \\ &= \mathbb{E}_{\tau\sim\pi}\left[ x \right] \end{align}",
    r"\begin{align*} a &= b \end{align*}",
    r"\begin{aligned} a &= b \end{aligned}",
    r"\begin{split} a &= b \end{split}",
    r"\begin{cases} 1 & a = \operatorname*{arg\,max}_{a'} q(s, a') \\ 0 & \text{else} \end{cases}",
    r"\underbrace{\left(q_{i,t} - b\right)}_{\text{advantage}} \log\exp\max_a \overline{x} \bar r \tilde x",
    r"\operatorname{softmax}(\boldsymbol{x}) \in \mathbb{R}^{n} \triangleq \mathds{1} \coloneqq \mathbf{W} \mathrm{d}x",
    r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix} \Big[ x \Big] \int \prod \infty \propto \approx \lVert x \rVert",
    r"\sum_{\substack{a \\ b}} \left.\frac{a}{b}\right|_{x=0}",
]


def export(tmp_path, *cells, **options):
    path = write_notebook(tmp_path / "Part1_Test.ipynb", *cells)
    return export_html([path], tmp_path / "page.html", **options).read_text()


def output(kind, content):
    return new_code_cell("1", outputs=[new_output("display_data", {kind: content, "text/plain": "?"})])


IN_LINE = [f"${formula}$" for formula in FORMULAS]
DISPLAYED = [f"$${formula}$$" for formula in [*FORMULAS, r"a = b \tag{1}", r"\text{where $x$ is} > 0"]]


@pytest.mark.parametrize("formula", IN_LINE + DISPLAYED)
def test_formulas_become_mathml(tmp_path, caplog, formula):
    page = BeautifulSoup(export(tmp_path, new_markdown_cell(formula)), "html.parser")
    assert len(page.find_all("math")) == 1
    assert "$" not in page.main.get_text()
    assert "\\" not in page.main.get_text()
    assert not [record for record in caplog.records if record.name.startswith("cs236781")]


def test_bare_environments_are_displayed_without_numbers(tmp_path):
    cell = new_markdown_cell("text\n\n\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}\n")
    page = BeautifulSoup(export(tmp_path, cell), "html.parser")
    assert page.math["display"] == "block"
    assert "(1)" not in page.math.get_text()


def test_a_formula_that_cannot_be_converted_stays_as_its_source(tmp_path, caplog):
    page = export(tmp_path, new_markdown_cell(r"$\nosuchcommand<x$"))
    assert r"<code>\nosuchcommand&lt;x</code>" in page
    assert r"\nosuchcommand" in caplog.text


def test_code_and_prices_are_no_formulas(tmp_path):
    page = export(tmp_path, new_markdown_cell(r"`$x$` costs \$5"), new_code_cell("a = '$x$'"))
    assert "<math" not in page


def test_the_page_loads_nothing_from_elsewhere(tmp_path):
    page = export(tmp_path, new_markdown_cell("# Title"), "print(1)", output("image/png", PNG))
    soup = BeautifulSoup(page, "html.parser")
    for tag in soup.find_all(["script", "link", "img", "video", "audio", "source", "iframe", "object", "embed"]):
        assert tag.name != "script" or not tag.get("src")
        for attribute in ("src", "href", "poster", "data"):
            assert tag.get(attribute, "data:").startswith("data:")
    for style in [tag.get_text() for tag in soup.find_all("style")]:
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", style)
        assert "@import" not in style
    assert "default-src 'none'" in soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert "data:image/png" in page


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://example.com/x.js"></script>',
        "<script>fetch('https://example.com')</script>",
        '<img src="https://example.com/x.png" srcset="https://example.com/y.png 2x">',
        '<video poster="//example.com/x.png"><source src="https://example.com/v.mp4"></video>',
        '<iframe src="https://example.com"></iframe>',
        '<link rel="stylesheet" href="https://example.com/x.css">',
        '<img src="../secret.png">',
        '<meta http-equiv="Refresh" content="0; url=https://example.com">',
        '<base href="https://example.com/">',
    ],
)
def test_what_is_elsewhere_is_left_out(tmp_path, html):
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = tmp_path / "inner"
    folder.mkdir()
    page = export(folder, output("text/html", html))
    assert "example.com" not in page
    assert "c2VjcmV0" not in page


def test_files_beside_the_notebook_are_put_inside(tmp_path):
    (tmp_path / "a b.png").write_bytes(b"picture")
    (tmp_path / "v.mp4").write_bytes(MP4)
    page = export(tmp_path, new_markdown_cell("![x](a%20b.png)"), output("text/html", '<video src="v.mp4"></video>'))
    assert "data:image/png;base64,cGljdHVyZQ==" in page
    assert "data:video/mp4;base64," in page


def test_plots_videos_and_latex_outputs_are_shown(tmp_path):
    video = tmp_path / "v.mp4"
    video.write_bytes(MP4)
    shown = output("text/html", show_video_in_notebook(video).data)
    page = export(tmp_path, output("image/png", PNG), shown, output("text/latex", "$x^2$"))
    page = BeautifulSoup(page, "html.parser")
    assert page.img["src"].startswith("data:image/png;base64,")
    assert page.video["src"].startswith("data:video/mp4;base64,")
    assert page.find("math").get_text() == "x2"


def test_a_widget_is_shown_as_its_text(tmp_path):
    page = export(tmp_path, output("application/vnd.jupyter.widget-view+json", {"model_id": "x"}))
    assert BeautifulSoup(page, "html.parser").find("pre", string="?")
    assert "<script" not in page


def test_notebooks_are_merged_in_order(tmp_path):
    paths = [write_notebook(tmp_path / f"Part{n}_X.ipynb", new_markdown_cell(f"# Section {n}")) for n in (2, 1)]
    page = BeautifulSoup(export_html(paths, tmp_path / "p.html").read_text(), "html.parser")
    assert [heading.contents[0] for heading in page.find_all("h1")] == ["Section 2", "Section 1"]
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))


def test_exporting_twice_gives_the_same_bytes(tmp_path):
    pages = [export(tmp_path, new_markdown_cell("$x$"), output("image/png", PNG)) for _ in range(2)]
    assert pages[0] == pages[1]


def test_nothing_to_export(tmp_path):
    with pytest.raises(ValueError, match="no notebook"):
        export_html([], tmp_path / "p.html")
