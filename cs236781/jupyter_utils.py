"""Notebooks without a browser, and videos in them.

    run_notebook("Part1_DeepRL.ipynb")                        executed in place
    clear_notebook("Part1_DeepRL.ipynb")                      outputs stripped
    show_video_in_notebook("landing.mp4", width=400)          a player, the video inside it
    show_films({"crash": "a.mp4", "at rest": "b.mp4"})        players side by side
    show_source(Episode.calc_qvals)                           the code, beside the formula that it computes
    export_html(["Part1_DeepRL.ipynb"], "part1.html")         one page: see cs236781/html_export.py

A notebook is replaced only by a finished one. If a cell fails, or Ctrl-C comes, the file stays as it was.
"""

import ast
import base64
import html
import inspect
import itertools
import logging
import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from IPython import get_ipython
from IPython.display import HTML, DisplayHandle, Markdown, display
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from tqdm import tqdm

from cs236781.exercises import marked_in
from cs236781.files import check_folder_writable, write_whole
from cs236781.notebook_files import NotebookError, notebook_bytes, read_notebook
from cs236781.terminal import screen


def __getattr__(name: str) -> Any:
    """Give `export_html`, whose libraries a notebook that runs need not have: the optional dependencies `course`."""
    if name == "export_html":
        from cs236781.html_export import export_html

        return export_html
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# --- running and clearing


class _ThisInterpreter(KernelSpecManager):
    """Every notebook's kernel is the running Python, whatever kernels are installed on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        command += ["--log-level=ERROR"]  # its advice on TCP without encryption is for kernels of other machines
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def run_notebook(
    path: str | Path,
    *,
    out: str | Path | None = None,
    working_dir: str | Path | None = None,
    allow_errors: bool = False,
    timeout: float | None = None,
    progress: bool = True,
) -> Path:
    """Execute a notebook's cells in order and save it with their outputs; returns its path.

    :param path: the notebook.
    :param out: where the executed notebook goes; in place by default.
    :param working_dir: the folder its cells run in; the notebook's own by default.
    :param allow_errors: go on after a cell that fails; its error is among the outputs.
    :param timeout: seconds a single cell may take; no limit by default.
    :param progress: show a progress bar over the cells.
    :raises OSError: the notebook is missing, or out cannot be written (said before anything runs).
    :raises NotebookError: the file is no notebook, or a cell failed, ran out of time or killed its kernel.
    """
    path = Path(path).resolve()
    out = path if out is None else Path(out).resolve()
    working_dir = path.parent if working_dir is None else Path(working_dir).resolve()
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout}")
    if not working_dir.is_dir():
        raise NotADirectoryError(f"the working folder {working_dir} does not exist: create it, or choose another")
    notebook = read_notebook(path)
    check_folder_writable(out.parent)

    _execute(notebook, path, working_dir, allow_errors=allow_errors, timeout=timeout, progress=progress)
    for cell in _code_cells(notebook):
        cell.metadata.pop("execution", None)  # the times of an earlier run
        cell.outputs = _merge_streams(cell.outputs)
    write_whole(out, notebook_bytes(notebook))
    return out


def _execute(
    notebook: NotebookNode,
    path: Path,
    working_dir: Path,
    *,
    allow_errors: bool,
    timeout: float | None,
    progress: bool,
) -> None:
    """Run all cells in a fresh kernel; the kernel and the processes it started are gone afterwards."""
    environment = dict(os.environ)
    environment.pop("MPLBACKEND", None)  # set, it would keep plots from being shown in the notebook
    if working_dir != path.parent:  # a notebook still finds the modules beside it
        search_path = [str(path.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, search_path))

    process_groups: list[int] = []
    started: list[int] = []  # the indices of the cells
    bar = tqdm(total=len(_code_cells(notebook)), desc=path.name, unit="cell", disable=not progress)
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisInterpreter())

    def note_processes(notebook: NotebookNode) -> None:
        if group := getattr(manager.provisioner, "pgid", None):  # Windows has no process groups
            process_groups.append(group)

    def kill_processes() -> None:
        for group in process_groups:
            with suppress(ProcessLookupError, PermissionError):  # gone already
                os.killpg(group, signal.SIGKILL)

    client = NotebookClient(
        notebook,
        allow_errors=allow_errors,
        timeout=timeout,
        record_timing=False,
        resources={"metadata": {"path": str(working_dir)}},
        on_notebook_start=note_processes,
        on_cell_execute=lambda cell, cell_index: started.append(cell_index),
        on_cell_executed=lambda cell, cell_index, execute_reply: bar.update(),
    )
    client.km = manager  # given to the constructor, it would be left for us to shut down
    client.log.setLevel(logging.CRITICAL)  # the exceptions below say what it logs

    def failed(problem: str) -> NotebookError:
        """One line that names the notebook, the cell, its source's first lines and the problem."""
        index = started[-1] if started else 0
        count = len([cell for cell in _code_cells(notebook, stop=index + 1) if cell.source.strip()])
        lines = [line.strip() for line in notebook.cells[index].source.splitlines() if line.strip()]
        source = " | ".join(lines[:3]) + (" | ..." if len(lines) > 3 else "")
        what = " ".join(problem.split())
        return NotebookError(f"{path.name}: cell {index + 1} (In [{count}]) failed: {what}; its source: {source}")

    # In a thread of its own: in the main thread nbclient would take Ctrl-C for itself and swallow it.
    with bar, ThreadPoolExecutor(1) as executor:
        run = executor.submit(client.execute, env=environment)
        try:
            run.result()
        except KeyboardInterrupt:
            while not run.done():  # a kernel just starting is killed as soon as it is there
                kill_processes()
                time.sleep(0.05)
            raise
        except CellExecutionError as error:
            raise failed(f"{error.ename}: {error.evalue}") from None
        except CellTimeoutError:
            raise failed(f"no end after {timeout:g} seconds, the time a cell may take") from None
        except DeadKernelError:
            raise failed("its process died (out of memory?)") from None
        finally:
            kill_processes()


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs with what was printed between two others as one text for each stream, as a terminal shows it.

    Standard output comes first, since the two streams arrive in any order. Empty texts are dropped.
    """
    merged: list[NotebookNode] = []
    for is_stream, group in itertools.groupby(outputs, lambda output: output.output_type == "stream"):
        if not is_stream:
            merged.extend(group)
            continue
        texts: dict[str, list[str]] = {"stdout": [], "stderr": []}
        for output in group:
            texts[output.name].append(output.text)
        for name, parts in texts.items():
            if (text := screen("".join(parts))).strip():
                merged.append(new_output("stream", name=name, text=text))
    return merged


def clear_notebook(path: str | Path) -> None:
    """Strip a notebook, in place, of outputs, execution counts and what else running it left.

    :raises OSError: the notebook is missing, or cannot be written.
    :raises NotebookError: the file is no notebook.
    """
    write_whole(path, cleared(path))


def cleared(path: str | Path) -> bytes:
    """What `clear_notebook` would write."""
    notebook = read_notebook(Path(path))
    notebook.metadata.pop("widgets", None)
    for cell in _code_cells(notebook):
        cell.outputs = []
        cell.execution_count = None
        for key in ("execution", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)
    return notebook_bytes(notebook)


def _code_cells(notebook: NotebookNode, stop: int | None = None) -> list[NotebookNode]:
    return [cell for cell in notebook.cells[:stop] if cell.cell_type == "code"]


# --- videos


def show_video_in_notebook(video_path: str | Path, width: int | str = 500) -> HTML:
    """A player for a notebook, with the video inside, so that it plays wherever the notebook is opened.

    :param video_path: an mp4 or WebM file.
    :param width: of the player, in pixels, as a number or a string of digits; on a narrower screen it shrinks.
    :raises FileNotFoundError: there is no such file.
    :raises ValueError: it is empty or no mp4 or WebM video, or width is not a positive whole number.
    """
    if isinstance(width, bool) or not re.fullmatch(r"0*[1-9][0-9]*", str(width)):
        raise ValueError(f"width is a positive whole number of pixels, such as 500, not {width!r}")
    flags = "controls loop muted playsinline autoplay"
    style = "max-width: 100%; height: auto"
    return HTML(f'<video {flags} width="{width}" style="{style}" src="{_video_url(video_path)}"></video>')


def show_films(films: Mapping[str, str | Path]) -> HTML:
    """Players in a grid, two in a row, or one on a narrow screen. None plays before it is asked to.

    :param films: {what is written under it: an mp4 or WebM file}.
    :raises FileNotFoundError: as show_video_in_notebook; so too ValueError.
    """
    grid = "display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem"
    figures = [
        '<figure style="margin: 0"><video controls muted playsinline preload="metadata" style="width: 100%" '
        f'src="{_video_url(path)}"></video><figcaption>{html.escape(what)}</figcaption></figure>'
        for what, path in films.items()
    ]
    return HTML(f'<div style="{grid}; max-width: 60rem">{"".join(figures)}</div>')


class LiveOutput:
    """A part of a cell's output that changes while the cell runs. Where there is no notebook, nothing is shown."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None

    def show(self, content: str, words: str) -> None:
        """Show HTML in place of what was shown before.

        :param words: what it says, for where no HTML is shown.
        """
        if not hasattr(get_ipython(), "kernel"):
            return
        bundle = {"text/html": content, "text/plain": words}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def _video_url(video_path: str | Path) -> str:
    """A video's content as an address."""
    path = Path(video_path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no video {path}: record one first")
    data = path.read_bytes()
    if not data:
        raise ValueError(f"the video {path} is empty: its recording was not finished; record it again")
    if data[4:8] == b"ftyp":
        kind = "video/mp4"
    elif data[:4] == b"\x1a\x45\xdf\xa3":
        kind = "video/webm"
    else:
        raise ValueError(f"{path} is neither an mp4 nor a WebM video: record it as one of these")
    return data_url(kind, data)


def data_url(kind: str, data: bytes) -> str:
    """A file's content as an address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# --- code


def show_source(*functions: Callable[..., Any]) -> Markdown:
    """The code of functions for a notebook, without docstrings, and with the helpers of their project that they call.

    Of an exercise that is not written yet it says so instead.

    :raises OSError: if the code is in no file.
    """
    parts: list[str] = []
    pending = list(functions)
    shown: set[Any] = set()
    while pending:
        function = inspect.unwrap(pending.pop(0))
        if function in shown:
            continue
        shown.add(function)
        source = textwrap.dedent(inspect.getsource(function))
        if marked_in(source):
            parts.append(f"`{function.__qualname__}` is yours to write. Once it is written, its code stands here.")
            continue
        tree = ast.parse(source)
        file = f"{function.__module__.replace('.', '/')}.py"
        parts.append(f"`{function.__qualname__}`, in `{file}`:\n\n```python\n{_without_docstring(source, tree)}\n```")
        pending += _helpers(function, tree)
    return Markdown("\n\n".join(parts))


def _without_docstring(source: str, tree: ast.Module) -> str:
    """A function's source; blank lines after the docstring go with it."""
    definition: Any = tree.body[0]
    lines = source.rstrip().splitlines()
    if ast.get_docstring(definition) is None:
        return "\n".join(lines)
    docstring = definition.body[0]
    after = "\n".join(lines[docstring.end_lineno :]).lstrip("\n")
    return "\n".join([*lines[: docstring.lineno - 1], after])


def _helpers(function: Any, tree: ast.Module) -> list[Any]:
    """What a function calls of its own package's functions, by their plain names."""
    package = function.__module__.partition(".")[0]
    names = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    named = [inspect.unwrap(function).__globals__.get(name) for name in names]
    return [called for called in named if inspect.isfunction(called) and called.__module__.partition(".")[0] == package]
