import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from IPython.display import HTML
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cs236781.files import check_folder_writable, write_whole
from cs236781.jupyter_utils import NotebookError, clear_notebook, export_html, run_notebook, show_video_in_notebook

ROOT = Path(__file__).resolve().parents[2]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MP4 = b"\0\0\0\x20ftypisom" + bytes(64)


def write_notebook(path, *cells, **metadata):
    """A notebook of strings (code cells) and cells; its kernel is one that no machine has."""
    kernel = {"name": "not-installed", "display_name": "?", "language": "python"}
    made = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    for index, cell in enumerate(made):
        cell.id = f"c{index}"
    nbformat.write(new_notebook(cells=made, metadata={"kernelspec": kernel, **metadata}), path)
    return path


def outputs(path, index):
    return nbformat.read(path, as_version=4).cells[index].outputs


# --- running


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """One run of a notebook that does a little of everything, with the files it left."""
    folder = tmp_path_factory.mktemp("executed")
    (folder / "beside.py").write_text("VALUE = 7")
    (folder / "elsewhere").mkdir()
    path = write_notebook(
        folder / "Part1_Test.ipynb",
        new_markdown_cell("# Title"),
        "import os, subprocess, sys, beside\nprint(os.getcwd(), beside.VALUE, sys.executable, sep='\\n')",
        "import time\nfor i in range(4):\n    print(f'\\r{i} of 3', end='', flush=True); time.sleep(.01)\nprint()",
        "print('gone \\r', end='')",
        f"process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(folder / 'pids')!r}, 'w').write(f'{{process.pid}} {{os.getpid()}}');",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    )
    before = path.read_bytes()
    os.environ["MPLBACKEND"] = "agg"  # as a server's profile may have it
    try:
        out = run_notebook(path, out=folder / "done.ipynb", working_dir=folder / "elsewhere", progress=False)
    finally:
        del os.environ["MPLBACKEND"]
    assert path.read_bytes() == before
    return out


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until_gone(pids, limit=5):
    end = time.monotonic() + limit
    while any(is_running(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(is_running(pid) for pid in pids)


def test_runs_in_this_interpreter_in_the_working_folder_with_modules_beside_it(executed):
    text = outputs(executed, 1)[0].text.splitlines()
    assert text == [str(executed.parent / "elsewhere"), "7", sys.executable]


def test_progress_output_keeps_its_last_state(executed):
    assert [output.text for output in outputs(executed, 2)] == ["3 of 3\n"]


def test_output_that_erased_itself_is_dropped(executed):
    assert outputs(executed, 3) == []


def test_plots_are_shown_whatever_backend_the_environment_names(executed):
    assert any("image/png" in output.get("data", {}) for output in outputs(executed, 5))


def test_the_kernel_and_its_children_are_gone(executed):
    assert wait_until_gone([int(pid) for pid in (executed.parent / "pids").read_text().split()])


def test_execution_counts_are_kept_and_times_are_not(executed):
    cells = nbformat.read(executed, as_version=4).cells[1:]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, 5]
    assert not any("execution" in cell.metadata for cell in cells)


def test_two_runs_give_the_same_bytes(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "print(1)", "1 + 1")
    run_notebook(path, progress=False)
    first = path.read_bytes()
    run_notebook(path, progress=False)
    assert path.read_bytes() == first


def test_failing_cell_leaves_the_notebook_and_names_the_place(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", new_markdown_cell("x"), "a = 1", "b = 0\na / b\n")
    before = path.read_bytes()
    with pytest.raises(NotebookError) as caught:
        run_notebook(path, progress=False)
    message = str(caught.value)
    for part in ["a.ipynb", "cell 3", "In [2]", "ZeroDivisionError: division by zero", "b = 0 | a / b"]:
        assert part in message
    assert "\n" not in message
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.ipynb"]


def test_errors_allowed_are_saved_and_the_rest_runs(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "1 / 0", "print('after')")
    run_notebook(path, allow_errors=True, progress=False)
    assert outputs(path, 0)[0].ename == "ZeroDivisionError"
    assert outputs(path, 1)[0].text == "after\n"


def test_a_cell_out_of_time_is_named(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "import time\ntime.sleep(60)")
    with pytest.raises(NotebookError, match=r"cell 1 .*no end after 1 seconds"):
        run_notebook(path, timeout=1, progress=False)


def test_a_dead_kernel_is_named(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "import os\nos._exit(1)")
    with pytest.raises(NotebookError, match=r"cell 1 .*process died"):
        run_notebook(path, progress=False)


def test_ctrl_c_leaves_the_notebook_and_no_process(tmp_path):
    pids = tmp_path / "pids"
    code = f"import os, time\nopen({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    path = write_notebook(tmp_path / "a.ipynb", code)
    before = path.read_bytes()
    program = textwrap.dedent(f"""
        from cs236781.jupyter_utils import run_notebook
        try:
            run_notebook({str(path)!r}, progress=False)
        except KeyboardInterrupt:
            print("interrupted")
    """)
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 30
    while not (pids.exists() and pids.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "interrupted\n"
    assert wait_until_gone([int(pids.read_text())])
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{}", "[1]", "not json", '{"nbformat": 4, "nbformat_minor": 5, "cells": 3}'])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.ipynb"
    path.write_text(content)
    with pytest.raises(NotebookError, match="not a Jupyter notebook"):
        run_notebook(path)


def test_missing_notebook(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no notebook"):
        run_notebook(tmp_path / "a.ipynb")


def test_missing_folder_for_the_result_is_said_before_running(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        run_notebook(path, out=tmp_path / "missing" / "a.ipynb")
    assert not (tmp_path / "ran").exists()


# --- clearing


def test_clear_strips_what_running_left(tmp_path):
    cell = new_code_cell("1", execution_count=3, outputs=[new_output("stream", text="x")])
    cell.metadata = {"execution": {"iopub.status.busy": "now"}, "tags": ["kept"]}
    path = write_notebook(tmp_path / "a.ipynb", new_markdown_cell("# x"), cell, widgets={"a": 1})
    clear_notebook(path)
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[1].outputs == []
    assert notebook.cells[1].execution_count is None
    assert notebook.cells[1].metadata == {"tags": ["kept"]}
    assert "widgets" not in notebook.metadata


def test_clear_is_idempotent_and_the_same_for_cells_without_ids(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "1", "2")
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        del cell["id"]
    results = []
    for name in ("b.ipynb", "c.ipynb"):
        copy = tmp_path / name
        copy.write_text(json.dumps(content))
        clear_notebook(copy)
        results.append(copy.read_bytes())
        clear_notebook(copy)
        results.append(copy.read_bytes())
    assert len(set(results)) == 1


# --- exporting

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


def test_the_page_loads_nothing_from_elsewhere(executed, tmp_path):
    page = export_html([executed], tmp_path / "page.html").read_text()
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


def html_output(html):
    return new_code_cell("1", outputs=[new_output("display_data", {"text/html": html, "text/plain": "?"})])


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
    page = export(folder, html_output(html))
    assert "example.com" not in page
    assert "c2VjcmV0" not in page


def test_files_beside_the_notebook_are_put_inside(tmp_path):
    (tmp_path / "a b.png").write_bytes(b"picture")
    (tmp_path / "v.mp4").write_bytes(MP4)
    page = export(tmp_path, new_markdown_cell("![x](a%20b.png)"), html_output('<video src="v.mp4"></video>'))
    assert "data:image/png;base64,cGljdHVyZQ==" in page
    assert "data:video/mp4;base64," in page


def test_plots_videos_and_latex_outputs_are_shown(tmp_path):
    video = tmp_path / "v.mp4"
    video.write_bytes(MP4)
    plot = new_code_cell("1", outputs=[new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"})])
    latex = new_code_cell("1", outputs=[new_output("display_data", {"text/latex": "$x^2$", "text/plain": "?"})])
    page = BeautifulSoup(export(tmp_path, plot, html_output(show_video_in_notebook(video).data), latex), "html.parser")
    assert page.img["src"].startswith("data:image/png;base64,")
    assert page.video["src"].startswith("data:video/mp4;base64,")
    assert page.find("math").get_text() == "x2"


def test_a_widget_is_shown_as_its_text(tmp_path):
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "100%"}
    page = export(tmp_path, new_code_cell("1", outputs=[new_output("display_data", data)]))
    assert "100%" in page
    assert "<script" not in page


def test_notebooks_are_merged_in_order_under_a_title(tmp_path):
    paths = [write_notebook(tmp_path / f"Part{n}_X.ipynb", new_markdown_cell(f"# Section {n}")) for n in (2, 1)]
    page = BeautifulSoup(export_html(paths, tmp_path / "p.html", title="A <title>").read_text(), "html.parser")
    assert [heading.get_text() for heading in page.find_all("h1")] == ["Section 2", "Section 1"]
    assert page.title.get_text() == "A <title>"
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))


def test_exporting_twice_gives_the_same_bytes(executed, tmp_path):
    pages = [export_html([executed], tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_nothing_to_export(tmp_path):
    with pytest.raises(ValueError, match="no notebook"):
        export_html([], tmp_path / "p.html")


# --- videos


def test_a_video_is_embedded(tmp_path):
    path = tmp_path / "landing.mp4"
    path.write_bytes(MP4)
    shown = show_video_in_notebook(path, width=320)
    assert isinstance(shown, HTML)
    video = BeautifulSoup(shown.data, "html.parser").video
    assert video["src"].startswith("data:video/mp4;base64,")
    assert video["width"] == "320"
    assert {"controls", "loop", "autoplay", "muted", "playsinline"} <= set(video.attrs)
    assert str(tmp_path) not in shown.data + repr(shown)


@pytest.mark.parametrize(("content", "problem"), [(b"", "empty"), (b"GIF89a.......", "neither an mp4 nor")])
def test_a_file_that_is_no_video(tmp_path, content, problem):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        show_video_in_notebook(path)


def test_a_missing_video(tmp_path):
    with pytest.raises(FileNotFoundError, match="no video"):
        show_video_in_notebook(tmp_path / "a.mp4")


@pytest.mark.parametrize("width", [0, -1, 1.5, "50", True])
def test_a_width_that_is_none(tmp_path, width):
    with pytest.raises(ValueError, match="width"):
        show_video_in_notebook(tmp_path / "a.mp4", width=width)


# --- files


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        check_folder_writable(tmp_path / "a")
