"""The notebook runs to its end beside the committed results, and prints the published figures."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from cs236781.jupyter_utils import run_notebook

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "Part1_DeepRL.ipynb"

pytestmark = pytest.mark.timeout(900)


def printed(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.text for output in outputs if output.output_type == "stream")


def videos(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("data:video/mp4;base64," in str(output.get("data", {}).get("text/html", "")) for output in outputs)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    for name in ("results", "checkpoints"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("monitor"))
    run_notebook(NOTEBOOK, out=folder / NOTEBOOK.name, working_dir=folder, timeout=170, progress=False)
    return nbformat.read(folder / NOTEBOOK.name, as_version=4)


@pytest.mark.parametrize("figure", [-35.535522, -2.4665009, 1.38629436, -0.7927002, 975.230895])
def test_prints_the_published_figures(executed, figure):
    numbers = [float(text) for text in re.findall(r"-?\d+\.\d+", printed(executed))]
    assert any(abs(number - figure) < 1e-3 for number in numbers)


def test_trains_nothing_that_is_there(executed):
    assert printed(executed).count("exists, skipping") >= 2


def test_shows_videos(executed):
    assert videos(executed) >= 3


@pytest.mark.parametrize("which", ["executed", "committed"])
def test_every_cell_was_run_in_order(which, executed):
    notebook = executed if which == "executed" else nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_the_committed_one_shows_its_videos():
    assert videos(nbformat.read(NOTEBOOK, as_version=4)) >= 3


def test_every_figure_and_film_has_a_text_for_those_who_cannot_see_it():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        htmls = [str(data.get("text/html", "")) for data in shown]
        count = sum(("image/png" in data) + text.count("<video ") for data, text in zip(shown, htmls, strict=True))
        assert all(text.count("<svg ") == text.count(" aria-label=") for text in htmls), cell.id
        assert cell.source.count("# alt: ") == count or not count, cell.id
