import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from IPython.display import HTML
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from cs236781.jupyter_utils import (
    LiveOutput,
    NotebookError,
    clear_notebook,
    run_notebook,
    show_films,
    show_source,
    show_video_in_notebook,
)
from tests.notebooks import write_notebook

ROOT = Path(__file__).resolve().parents[2]
MP4 = b"\0\0\0\x20ftypisom" + bytes(64)


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
        "print('gone\\r    \\r', end='')",
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
    assert [thread for thread in threading.enumerate() if "HBChannel" in repr(thread)] == []  # it watched the kernel


def test_execution_counts_are_kept_and_times_are_not(executed):
    cells = nbformat.read(executed, as_version=4).cells[1:]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, 5]
    assert not any("execution" in cell.metadata for cell in cells)


def test_a_line_of_any_length_is_kept(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "print('x' * 1_000_000)")
    run_notebook(path, progress=False)
    assert outputs(path, 0)[0].text == "x" * 1_000_000 + "\n"


def test_what_is_printed_stays_between_the_pictures_it_was_printed_between(tmp_path):
    code = "import sys\nprint('a'); print('warning', file=sys.stderr); display(1); print('b', end='\\r')"
    path = write_notebook(tmp_path / "a.ipynb", code)
    run_notebook(path, progress=False)
    texts = [output.get("text") or output.data["text/plain"] for output in outputs(path, 0)]
    assert texts == ["a\n", "warning\n", "1", "b"]


def test_two_runs_give_the_same_bytes(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "print(1)", "1 + 1")
    runs = [run_notebook(path, progress=False).read_bytes() for _ in range(2)]
    assert runs[0] == runs[1]


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


@pytest.mark.parametrize(
    ("source", "problem"),
    [("import time\ntime.sleep(60)", "no end after 1 seconds"), ("import os\nos._exit(1)", "process died")],
)
def test_a_cell_without_an_end_of_its_own_is_named(tmp_path, source, problem):
    with pytest.raises(NotebookError, match=rf"cell 1 .*{problem}"):
        run_notebook(write_notebook(tmp_path / "a.ipynb", source), timeout=1, progress=False)


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


# --- videos


@pytest.mark.parametrize("width", [320, "320"])
def test_a_video_is_embedded(tmp_path, width):
    path = tmp_path / "landing.mp4"
    path.write_bytes(MP4)
    shown = show_video_in_notebook(path, width=width)
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


@pytest.mark.parametrize("width", [0, -1, 1.5, "50%", True])
def test_a_width_that_is_none(tmp_path, width):
    with pytest.raises(ValueError, match="width"):
        show_video_in_notebook(tmp_path / "a.mp4", width=width)


def test_what_changes_keeps_its_place_in_the_output(tmp_path):
    path = write_notebook(
        tmp_path / "a.ipynb",
        "from cs236781.jupyter_utils import LiveOutput\nlive = LiveOutput()\n"
        "live.show('<b>1</b>', 'one')\nprint('between')\nlive.show('<b>2</b>', 'two')",
    )
    first, second = outputs(run_notebook(path, progress=False), 0)
    assert first.data == {"text/html": "<b>2</b>", "text/plain": "two"}
    assert second.text == "between\n"


def test_what_changes_is_not_shown_on_a_terminal(capsys):
    LiveOutput().show("<b>1</b>", "one")
    assert capsys.readouterr().out == ""


def test_films_stand_side_by_side_and_wait(tmp_path):
    path = tmp_path / "landing.mp4"
    path.write_bytes(MP4)
    shown = BeautifulSoup(show_films({"4 < 5": path, "at rest": path}).data, "html.parser")
    assert [caption.text for caption in shown.find_all("figcaption")] == ["4 < 5", "at rest"]
    for video in shown.find_all("video"):
        assert video["src"].startswith("data:video/mp4;base64,")
        assert "controls" in video.attrs
        assert "autoplay" not in video.attrs


# --- code


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module with code to show, which is like a project's."""
    (tmp_path / "shown_module.py").write_text(
        textwrap.dedent('''\
            import math


            def helper(x):
                """Explained."""
                return math.sqrt(x)


            class Loss:
                def forward(self, x):
                    """The formula.

                    :param x: a number.
                    """
                    # a remark
                    return helper(x) + max(x, 1)

                @staticmethod
                def to_do(n):
                    # TODO: Write it.
                    raise NotImplementedError("Loss.to_do: an exercise, not written yet")
            ''')
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shown_module")
    del sys.modules["shown_module"]


def test_code_is_shown_with_its_helpers_and_without_docstrings(module):
    assert show_source(module.Loss.forward, module.helper).data == textwrap.dedent("""\
        `Loss.forward`, in `shown_module.py`:

        ```python
        def forward(self, x):
            # a remark
            return helper(x) + max(x, 1)
        ```

        `helper`, in `shown_module.py`:

        ```python
        def helper(x):
            return math.sqrt(x)
        ```""")


def test_an_exercise_that_is_to_do_is_said_to_be(module):
    assert show_source(module.Loss.to_do).data == (
        "`Loss.to_do` is yours to write. Once it is written, its code stands here."
    )
