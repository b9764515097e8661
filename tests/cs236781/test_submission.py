import zipfile
from pathlib import Path

import pytest

from cs236781 import submission, unpacking
from cs236781.jupyter_utils import NotebookError
from cs236781.submission import find_notebooks, prepare_submission
from tests.notebooks import write_notebook

HANDED_IN = ["Part1_First.ipynb", "Part2_Second.ipynb", "README.md", "hw4/code.py", "results/part1.dat", "run.sh"]
LEFT_OUT = [
    ".git/config",
    ".hidden",
    ".venv/lib/x.py",
    "hw4/.ipynb_checkpoints/Part1_First.ipynb",
    "hw4/__pycache__/code.cpython-311.pyc",
    "hw4/code.py~",
    "checkpoints/best.dat",
    "results/checkpoints/best.dat",
    "out/results/part1.dat",
    "dist/hw4-dist.zip",
    "cs236781_hw4.egg-info/PKG-INFO",
    "my-environment/pyvenv.cfg",
    "my-environment/lib/x.py",
    "hw4-1.zip",
    "earlier/hw4-1_2.zip",
    "__MACOSX/._README.md",
    "hw4/.DS_Store",
]
BAD_IDS = ["", "a b", "../x", "a/b", "a_b", "a.b", "é", "1\n", "-1"]


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    for name in [*HANDED_IN, *LEFT_OUT]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    write_notebook(root / "Part1_First.ipynb", "print('first')")
    write_notebook(root / "Part2_Second.ipynb", "2")
    (root / "run.sh").chmod(0o755)
    return root


@pytest.fixture
def out_dir(tmp_path):
    folder = tmp_path / "handed in"
    folder.mkdir()
    return folder


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setattr(submission, "run_notebook", lambda *args, **kwargs: pytest.fail("a notebook was run"))


def members(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def all_bytes(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_archive_holds_what_is_handed_in_and_nothing_else(project, out_dir, capsys):
    path = prepare_submission(["12", "ab"], root=project, out_dir=out_dir, skip_run=True)
    assert path == out_dir / "hw4-12_ab.zip"
    assert members(path) == sorted(f"hw4-12_ab/{name}" for name in [*HANDED_IN, "hw4-12_ab.html"])
    printed = capsys.readouterr().out
    assert "Part1_First.ipynb: not run" in printed
    assert "1 of its 1 code cells were never run" in printed
    assert f"{path}: 7 files" in printed


def test_notebooks_are_run_in_the_project_and_saved(project, out_dir):
    write_notebook(project / "Part2_Second.ipynb", "open('results/new.dat', 'w').write('x')", "print('sec' + 'ond')")
    path = prepare_submission(["1"], root=project, out_dir=out_dir)
    with zipfile.ZipFile(path) as archive:
        page = archive.read("hw4-1/hw4-1.html").decode()
        assert archive.read("hw4-1/results/new.dat") == b"x"
        assert archive.read("hw4-1/Part2_Second.ipynb") == (project / "Part2_Second.ipynb").read_bytes()
    assert "second" in page
    assert page.index("first") < page.index("second")
    assert "second\\n" in (project / "Part2_Second.ipynb").read_text()


def test_same_input_same_bytes(project, out_dir):
    first = prepare_submission(["1"], root=project, out_dir=out_dir, skip_run=True).read_bytes()
    for path in project.rglob("*.py"):
        path.touch()
    assert prepare_submission(["1"], root=project, out_dir=out_dir, skip_run=True).read_bytes() == first


def test_modes_in_the_archive(project, out_dir):
    (project / "README.md").chmod(0o600)
    with zipfile.ZipFile(prepare_submission(["1"], root=project, out_dir=out_dir, skip_run=True)) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    assert modes.pop("hw4-1/run.sh") == 0o755
    assert set(modes.values()) == {0o644}


def test_links_to_what_is_left_out_are_left_out(project, out_dir, tmp_path):
    (tmp_path / "secret").mkdir()
    (project / ".hidden-link").symlink_to(tmp_path / "secret")
    (project / "venv").symlink_to(tmp_path / "secret")
    (project / "link-hidden").symlink_to(project / ".git" / "config")
    (project / "folder-link").symlink_to(project / "results")
    (project / "broken").symlink_to(project / "missing")
    (project / "link-inside").symlink_to(project / "README.md")
    path = prepare_submission(["1"], root=project, out_dir=out_dir, skip_run=True)
    assert set(members(path)) == {f"hw4-1/{name}" for name in [*HANDED_IN, "hw4-1.html", "link-inside"]}
    with zipfile.ZipFile(path) as archive:
        assert archive.read("hw4-1/link-inside") == b"content of README.md"


@pytest.mark.parametrize("name", ["results/link", "Part3_Link.ipynb"])
@pytest.mark.parametrize("leads_to", ["secret", "secret/key", "missing"])
def test_a_link_that_leads_outside(project, out_dir, tmp_path, nothing_runs, name, leads_to):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    (project / name).symlink_to(tmp_path / leads_to)
    with pytest.raises(ValueError, match=rf"{name} is a link that leads out of the project, to .*{leads_to}: put"):
        prepare_submission(["1"], root=project, out_dir=out_dir)
    assert list(out_dir.iterdir()) == []


def test_a_large_file(project, out_dir, monkeypatch, nothing_runs):
    monkeypatch.setattr(unpacking, "MAX_FILE_BYTES", 1_000_000)
    (project / "results" / "huge.dat").write_bytes(bytes(1_000_001))
    with pytest.raises(ValueError, match=r"results/huge\.dat' has 1\.0 MB"):
        prepare_submission(["1"], root=project, out_dir=out_dir)
    assert list(out_dir.iterdir()) == []


def fill(project, *names, content="x"):
    for name in names:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["Notes", "notes"], "'hw4-1/notes' comes twice, also as 'hw4-1/Notes'"),
        (["HW4-1.html"], "comes twice"),
        (["a/" * 32 + "x"], "30 folders deep"),
        (["a\nb"], r"'hw4-1/a\\nb' is not a plain name"),
        (["a\\b"], "is not a plain name"),
        (["\udce9"], "is not a plain name"),
        ([("ש" * 120 + "/") * 5 + "x"], "too long"),
        ([f"data/{number}" for number in range(5001)], "at most 5000"),
    ],
    ids=["capitals", "the page", "deep", "newline", "backslash", "bytes", "long", "many"],
)
def test_what_the_checker_refuses_is_not_packed(project, out_dir, nothing_runs, names, problem):
    fill(project, *names)
    with pytest.raises(ValueError, match=f"check-submission would refuse this.*{problem}.*: rename it"):
        prepare_submission(["1"], root=project, out_dir=out_dir)
    assert list(out_dir.iterdir()) == []


def test_zeros_without_end_are_not_packed(project, out_dir, nothing_runs):
    (project / "zeros").write_bytes(bytes(20_000_000))
    with pytest.raises(ValueError, match="times as large as the archive"):
        prepare_submission(["1"], root=project, out_dir=out_dir)


def test_what_is_packed_can_be_unpacked(project, out_dir, tmp_path):
    names = ["Screenshot at 4.42\u202fPM.png", "a\u00a0b", "שלום.txt", "a/" * 28 + "x", "🌙", "x" * 255, "a:b", " "]
    fill(project, *names)
    archive = prepare_submission(["1", "2"], root=project, out_dir=out_dir, skip_run=True)
    (tmp_path / "unpacked").mkdir()
    assert unpacking.unpack(archive, tmp_path / "unpacked") == "1_2"
    assert all((tmp_path / "unpacked" / "hw4-1_2" / name).read_text() == "x" for name in names)


@pytest.mark.parametrize("skip_run", [True, False])
def test_a_damaged_notebook_is_named_before_another_runs(project, out_dir, nothing_runs, skip_run):
    (project / "Part2_Second.ipynb").write_text("<<<<<<< A\n{}\n=======\n{}\n>>>>>>> B\n")
    with pytest.raises(NotebookError, match=r"Part2_Second\.ipynb is not a Jupyter notebook .*merge conflict"):
        prepare_submission(["1"], root=project, out_dir=out_dir, skip_run=skip_run)


def test_a_missing_folder(project, tmp_path, nothing_runs):
    with pytest.raises(FileNotFoundError, match="missing does not exist"):
        prepare_submission(["1"], root=project, out_dir=tmp_path / "missing")


@pytest.mark.parametrize(
    ("source", "problem"),
    [("1 / 0", "ZeroDivisionError"), ("import time\ntime.sleep(600)", r"no end after 3 seconds.*time\.sleep")],
)
def test_a_failing_notebook_leaves_everything_as_it_was(project, out_dir, source, problem):
    write_notebook(project / "Part2_Second.ipynb", source)
    (out_dir / "hw4-1.zip").write_bytes(b"earlier")
    before = all_bytes(project.parent)
    with pytest.raises(NotebookError, match=rf"Part2_Second\.ipynb: cell 1 .*{problem}"):
        prepare_submission(["1"], root=project, out_dir=out_dir, timeout=3)
    assert all_bytes(project.parent) == before


def test_the_progress_over_the_cells_is_shown(project, out_dir, capsys):
    write_notebook(project / "Part2_Second.ipynb", "1", "2", "3")
    prepare_submission(["1"], root=project, out_dir=out_dir)
    shown = capsys.readouterr().err
    assert "Part1_First.ipynb: 100%" in shown
    assert "3/3" in shown


def test_errors_allowed_are_handed_in(project, out_dir):
    write_notebook(project / "Part2_Second.ipynb", "1 / 0")
    path = prepare_submission(["1"], root=project, out_dir=out_dir, allow_errors=True)
    with zipfile.ZipFile(path) as archive:
        assert b"ZeroDivisionError" in archive.read("hw4-1/hw4-1.html")


@pytest.mark.parametrize(
    ("ids", "error", "problem"),
    [
        *((["1", bad], ValueError, "letters and digits only") for bad in BAD_IDS),
        ([], ValueError, "no id"),
        (["12", "3", "12"], ValueError, "12 was given twice"),
        ("123", TypeError, "list of identifiers"),
        ([123], TypeError, "an id is a string"),
        (["1" * 150, "2" * 150], ValueError, "more than 200"),
    ],
)
def test_wrong_ids(project, out_dir, nothing_runs, ids, error, problem):
    with pytest.raises(error, match=problem):
        prepare_submission(ids, root=project, out_dir=out_dir)


def test_notebooks_are_found_in_the_order_of_their_numbers(tmp_path):
    for name in ["Part10_J.ipynb", "Part2_B.ipynb", "Part1_A.ipynb", "Other.ipynb", "Part3.ipynb", "Part4_x.txt"]:
        (tmp_path / name).touch()
    assert [path.name for path in find_notebooks(tmp_path)] == ["Part1_A.ipynb", "Part2_B.ipynb", "Part10_J.ipynb"]


def test_no_notebook(tmp_path):
    with pytest.raises(FileNotFoundError, match="no notebook"):
        find_notebooks(tmp_path)


def test_the_projects_own_files_are_handed_in():
    root = Path(submission.__file__).parents[1]
    names = {path.relative_to(root).as_posix() for path in submission.handed_in_files(root)}
    assert {"main.py", "hw4/rl_pg.py", "cs236781/submission.py", "pyproject.toml"} <= names
    assert not any(name.startswith((".", "checkpoints/", "out/")) or "__pycache__" in name for name in names)
