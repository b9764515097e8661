"""The exported page, and JupyterLab running the notebook, in a real browser: Debian's Chromium, with no network.

Skipped where no Chromium is installed.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from cs236781.html_export import export_html
from cs236781.jupyter_utils import clear_notebook
from tests.notebooks import write_notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "Part1_DeepRL.ipynb"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's package chromium"),
    pytest.mark.timeout(900),
]

DESKTOP, PHONE = (1280, 900), (390, 844)  # pixels
A4 = (210 / 25.4 * 72, 297 / 25.4 * 72)  # points
A4_BETWEEN_MARGINS = (718, 1047)  # pixels, at 96 an inch and with the margins of 1 cm that Chromium prints with
# Milliseconds, far above what a quiet machine needs: 1 and 20 seconds.
WAIT_LIMIT = 120_000
RUN_LIMIT = 400_000  # for all cells of the notebook


@dataclass
class Visit:
    """A page that was opened, and what the browser complained about or asked for meanwhile.

    The notebook is the one that it shows, and formula the tag that its formulas have.
    """

    page: Page
    address: str
    notebook: nbformat.NotebookNode | None = None
    formula: str = "math"
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def visit(context: BrowserContext, address: str) -> Visit:
    seen = Visit(context.new_page(), address)
    page = seen.page
    page.set_default_timeout(WAIT_LIMIT)

    def note_message(message):
        if message.type in ("error", "warning"):
            seen.complaints.append(f"{message.type}: {message.text}")

    def note_request(request):
        if not request.url.startswith(("data:", "blob:")):  # these are in the page
            seen.requests.append(request.url)

    page.on("console", note_message)
    page.on("pageerror", lambda error: seen.complaints.append(f"uncaught: {error}"))
    page.on("requestfailed", lambda request: seen.complaints.append(f"{request.failure}: {request.url[:200]}"))
    page.on("request", note_request)
    page.goto(address)
    return seen


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = "--disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses root
    with sync_playwright() as playwright:
        # a profile of its own, fresh and in a temporary folder, comes with each launch
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=[*options.split(), *as_root])


@pytest.fixture(scope="module")
def committed() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs_of(notebook, kind):
    """A notebook's outputs of a kind."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def films_in(notebook):
    """How many films a notebook's outputs show; some show several."""
    return sum(output.count("<video") for output in outputs_of(notebook, "text/html"))


def formulas_written(notebook):
    """How many formulas a notebook's text, with the answers it displays, is written with."""
    cells = notebook.cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    texts += [output.get("data", {}).get("text/markdown", "") for cell in cells for output in cell.get("outputs", [])]
    text = re.sub(r"`[^`]*`", "", "\n\n".join(texts))
    return len(re.findall(r"\$\$.+?\$\$|\$.+?\$|\\begin\{align", text, re.DOTALL))


# In the page: the result is a list with one entry for each thing found, so that a failure names the culprit.

IMAGES = ":is(main, .jp-Notebook) img:not(.film-on-paper)"
SIZES_OF_IMAGES = """async selector => Promise.all([...document.querySelectorAll(selector)].map(
    async image => { await image.decode(); return image.naturalWidth; }))"""

# From the start, muted, for a tenth of a second; it loops, so a later look could find it at its beginning again.
HOW_VIDEOS_PLAY = """async () => {
    const results = [];
    for (const video of document.querySelectorAll("video")) {
        video.pause();
        video.muted = true;
        video.currentTime = 0;
        await video.play();
        for (let i = 0; i < 600 && !(video.currentTime > 0.1); i++) await new Promise(done => setTimeout(done, 50));
        results.push({plays: video.currentTime > 0.1, width: video.videoWidth, error: video.error?.message ?? ""});
        video.pause();
    }
    return results;
}"""

FORMULAS_WITHOUT_SIZE = """selector => [...document.querySelectorAll(selector)].filter(formula => {
    const box = formula.getBoundingClientRect();
    return box.width < 4 || box.height < 6 || box.height > 200;
}).map(formula => formula.outerHTML.slice(0, 200))"""

# Written one after the other they would stand beside each other.
FRACTIONS = """() => [...document.querySelectorAll("mfrac")].map(fraction => {
    const [above, below] = [...fraction.children].map(part => part.getBoundingClientRect());
    return above.bottom <= below.top + 1;
})"""

TEXT_OUTSIDE_CODE = """() => {
    const copy = document.querySelector("main, .jp-Notebook").cloneNode(true);
    copy.querySelectorAll("pre, code, math, script, style, .jp-InputArea-editor").forEach(tag => tag.remove());
    return copy.textContent;
}"""

# What reaches past the right edge of the given width, and no box around it can be scrolled far enough to show its end.
# A script can scroll a hidden box, a reader cannot.
# What can be opened is open while it is looked at.
OUT_OF_REACH = """width => {
    const closed = [...document.querySelectorAll("details:not([open])")].map(tag => [tag, tag.name]);
    for (const [tag] of closed) { tag.name = ""; tag.open = true; }
    const reach = new Map();
    for (const box of document.querySelectorAll("main, main *")) {
        if (!["auto", "scroll"].includes(getComputedStyle(box).overflowX)) continue;
        box.scrollLeft = 1e6;
        reach.set(box, box.scrollLeft);
        box.scrollLeft = 0;
    }
    const found = [...document.querySelectorAll("main *")].filter(tag => {
        const box = tag.getBoundingClientRect();
        if (box.width === 0 || box.right <= width + 1) return false;
        for (let around = tag.parentElement; around; around = around.parentElement)
            if (box.right - (reach.get(around) ?? 0) <= width + 1) return false;
        return true;
    }).map(tag => tag.outerHTML.slice(0, 200));
    for (const [tag, name] of closed) { tag.open = false; tag.name = name; }
    return found;
}"""

BACKGROUND = "getComputedStyle(document.body).backgroundColor"

TAB_STOPS = """() => [...document.querySelectorAll("main *")].filter(
    tag => tag.tabIndex >= 0 && tag.offsetParent && !["A", "VIDEO", "SUMMARY"].includes(tag.tagName)
).map(tag => tag.outerHTML.slice(0, 200))"""

# How large figures wider than the screen are shown, of what they were drawn for.
SHRUNK = """() => [...document.querySelectorAll("main img:not(.film-on-paper)")].filter(
    image => image.naturalWidth > innerWidth).map(image => image.getBoundingClientRect().width / image.naturalWidth)"""

# What a box keeps from view: sideways too, where nothing can be scrolled.
CUT_OFF = """sideways => [...document.querySelectorAll("main *")].filter(tag => {
    const style = getComputedStyle(tag);
    if (!tag.clientHeight || style.display === "inline" || tag.closest("math, video")) return false;
    const wide = style.overflowX !== "visible" && tag.scrollWidth > tag.clientWidth + 1;
    const high = style.overflowY === "hidden" && tag.scrollHeight > tag.clientHeight + 1;
    return (sideways && wide) || high;
}).map(tag => tag.outerHTML.slice(0, 200))"""


# --- what is shown


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    return export_html([NOTEBOOK], tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module", params=["desktop", "phone", "lab"])
def shown(request, browser, page_file, committed) -> Iterator[Visit]:
    """The notebook's page on two screens, and JupyterLab."""
    if request.param == "lab":
        yield request.getfixturevalue("lab")
        return
    phone = request.param == "phone"
    width, height = PHONE if phone else DESKTOP
    size = {"width": width, "height": height}
    with browser.new_context(viewport=size, is_mobile=phone, has_touch=phone, offline=True) as context:
        seen = visit(context, page_file.as_uri())
        seen.notebook = committed
        yield seen


only_pages = pytest.mark.parametrize("shown", ["desktop", "phone"], indirect=True)


def test_asks_nobody_else(shown):
    assert [request for request in shown.requests if not request.startswith(shown.address)] == []


def test_gives_no_cause_to_complain(shown):
    # JupyterLab's warnings are its own affair: on a busy machine it says that a cell came late.
    ignored = "warning: " if shown.formula == "mjx-container" else "nothing"
    assert [complaint for complaint in shown.complaints if not complaint.startswith(ignored)] == []


# JupyterLab draws a cell when it has the time, so what it shows is waited for.


def test_every_image_decodes(shown):
    count = len(outputs_of(shown.notebook, "image/png"))
    expect(shown.page.locator(IMAGES)).to_have_count(count, timeout=WAIT_LIMIT)
    sizes = shown.page.evaluate(SIZES_OF_IMAGES, IMAGES)
    assert len(sizes) == count > 0
    assert all(size > 0 for size in sizes)


def test_every_video_plays(shown):
    count = films_in(shown.notebook)
    expect(shown.page.locator("video")).to_have_count(count, timeout=WAIT_LIMIT)
    assert count > 0
    assert shown.page.evaluate(HOW_VIDEOS_PLAY) == count * [{"plays": True, "width": 600, "error": ""}]


def test_formulas_are_typeset(shown):
    count = formulas_written(shown.notebook)
    expect(shown.page.locator(shown.formula)).to_have_count(count, timeout=WAIT_LIMIT)
    assert count > 100
    assert shown.page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert shown.page.evaluate(FORMULAS_WITHOUT_SIZE, shown.formula) == []


@only_pages
def test_fractions_stand_one_above_the_other(shown):
    fractions = shown.page.evaluate(FRACTIONS)
    assert len(fractions) > 10
    assert all(fractions)


@only_pages
def test_no_raw_tex_is_left(shown):
    assert re.findall(r"\$\$|\\[a-zA-Z]+\b.{0,40}", shown.page.evaluate(TEXT_OUTSIDE_CODE)) == []


@only_pages
def test_is_as_wide_as_the_screen(shown):
    width = shown.page.viewport_size["width"]
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width
    assert shown.page.evaluate(OUT_OF_REACH, width) == []


@only_pages
def test_nothing_is_cut_off(shown):
    assert shown.page.evaluate(CUT_OFF, False) == []


WIDE = {
    "code": new_code_cell("a = '" + "x" * 200 + "'"),
    "formula": new_markdown_cell("$$" + "a + " * 60 + "b$$"),
    "table": new_markdown_cell("|" + "long_name|" * 20 + "\n|" + "-|" * 20),
    "output": new_code_cell("1", outputs=[new_output("stream", text="x" * 200)]),
    "output table": new_code_cell(
        "1", outputs=[new_output("display_data", {"text/html": f"<table><tr>{'<td>long_name</td>' * 20}</tr></table>"})]
    ),
    "plot": new_code_cell(
        "1", outputs=[new_output("display_data", {"image/svg+xml": '<svg width="2000" height="9" viewBox="0 0 2 1"/>'})]
    ),
}


@pytest.fixture(params=WIDE.values(), ids=WIDE)
def wide_page(request, browser, tmp_path) -> Iterator[Page]:
    """A phone that shows a single wide thing."""
    nbformat.write(new_notebook(cells=[request.param]), tmp_path / "wide.ipynb")
    address = export_html([tmp_path / "wide.ipynb"], tmp_path / "page.html").as_uri()
    size = {"width": PHONE[0], "height": PHONE[1]}
    with browser.new_context(viewport=size, is_mobile=True, has_touch=True, offline=True) as context:
        yield visit(context, address).page


def test_what_is_wide_can_be_reached_on_a_phone(wide_page):
    assert wide_page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    assert wide_page.evaluate(OUT_OF_REACH, PHONE[0]) == []


# How far each box that scrolls fades out at its right, and then, scrolled to its end, at its left.
FADES = """() => [...document.querySelectorAll(".scroll")].map(async box => {
    const fade = name => getComputedStyle(box).getPropertyValue(name);
    const frames = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    await frames();
    const right = fade("--more-right");
    box.scrollLeft = 1e6;
    await frames();
    return [box.scrollWidth > box.clientWidth, right !== "0px", fade("--more-left") !== "0px"];
})"""


@pytest.mark.parametrize(("columns", "is_wide"), [(20, True), (2, False)])
def test_what_scrolls_on_a_phone_fades_out_and_nothing_else(browser, tmp_path, columns, is_wide):
    table = new_markdown_cell("|" + "long_name|" * columns + "\n|" + "-|" * columns)
    nbformat.write(new_notebook(cells=[table]), tmp_path / "table.ipynb")
    address = export_html([tmp_path / "table.ipynb"], tmp_path / "page.html").as_uri()
    with browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]}, offline=True) as context:
        faded = visit(context, address).page.evaluate(f"async () => Promise.all(({FADES})())")
    assert faded == [[is_wide] * 3]


# --- the page for everybody


@pytest.fixture(params=["light", "dark"])
def audited(request, browser, page_file, shown) -> Iterator[Page]:
    """The page on the screen of `shown`, where scripts may be put in."""
    phone = shown.page.viewport_size["width"] == PHONE[0]
    options = {"viewport": shown.page.viewport_size, "is_mobile": phone, "has_touch": phone, "bypass_csp": True}
    with browser.new_context(color_scheme=request.param, offline=True, **options) as context:
        yield visit(context, page_file.as_uri()).page


@only_pages
def test_axe_finds_nothing(audited):
    """It takes long, so of the four pages two are looked at that have both screens and both grounds."""
    is_dark = audited.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    if is_dark != (audited.viewport_size["width"] == PHONE[0]):
        pytest.skip("the light desktop and the dark phone are looked at")
    axe = pytest.importorskip("axe_playwright_python", reason="no axe-core: install axe-playwright-python")
    audited.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text())
    found = audited.evaluate("axe.run()")["violations"]
    assert [(rule["id"], node["html"][:200]) for rule in found for node in rule["nodes"]] == []


@only_pages
def test_dark_and_light_differ(audited):
    is_dark = audited.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert audited.evaluate(BACKGROUND) == ("rgb(17, 17, 17)" if is_dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("shown", ["desktop"], indirect=True)
def test_only_links_and_films_are_in_the_tab_order(shown):
    assert shown.page.evaluate(TAB_STOPS) == []


@pytest.mark.parametrize("shown", ["phone"], indirect=True)
def test_wide_figures_stay_readable_on_a_phone(shown):
    shrunk = shown.page.evaluate(SHRUNK)
    assert len(shrunk) > 3
    assert min(shrunk) >= 0.69


# --- the page on paper


@pytest.fixture(scope="module")
def paper(browser, page_file) -> Iterator[Page]:
    """The page laid out as it is for printing on A4."""
    width, height = A4_BETWEEN_MARGINS
    with browser.new_context(viewport={"width": width, "height": height}, offline=True) as context:
        page = visit(context, page_file.as_uri()).page
        page.emulate_media(media="print")
        yield page


def test_on_paper_nothing_is_cut_off(paper):
    assert paper.evaluate(CUT_OFF, True) == []
    assert paper.evaluate(OUT_OF_REACH, A4_BETWEEN_MARGINS[0]) == []


def test_on_paper_films_are_pictures(paper, committed):
    assert paper.locator("video").filter(visible=True).count() == 0
    stills = paper.locator("img.film-on-paper").filter(visible=True)
    assert stills.count() == films_in(committed)


def test_printed_on_a4(paper, committed):
    pdf = paper.pdf(format="A4", margin=dict.fromkeys(("top", "right", "bottom", "left"), "1cm"))
    assert pdf.startswith(b"%PDF-")
    boxes = re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", pdf)
    assert len(boxes) == len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 10 <= len(boxes) <= 60
    for width, height in boxes:
        assert (float(width), float(height)) == pytest.approx(A4, abs=1.5)  # Chromium rounds to whole pixels
    assert pdf.count(b"/Subtype /Image") >= len(outputs_of(committed, "image/png"))


# --- JupyterLab


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory) -> Iterator[tuple[str, str, Path]]:
    """The project's own script serving a copy of the project: its address, its token, the copy."""
    home = tmp_path_factory.mktemp("home")
    project = home / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".*", "__pycache__", "monitor", "out", "venv", "env"))
    clear_notebook(project / NOTEBOOK.name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "VIRTUAL_ENV", "MPLBACKEND"):
        environment.pop(name, None)  # without a screen, the script opens no browser of its own
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"HOME": str(home), "JUPYTER_TOKEN": token}
    command = [str(project / "jupyter-lab.sh"), "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    log = home / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + WAIT_LIMIT / 1000
        while not answers(f"{address}/api"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield address, token, project
    finally:
        server.terminate()  # it ends its kernels too
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def lab(browser, lab_server) -> Iterator[Visit]:
    """JupyterLab after Run All Cells; the notebook is the file that it saved, its outputs cleared before."""
    address, token, project = lab_server
    path = project / NOTEBOOK.name
    count = sum(cell.cell_type == "code" for cell in nbformat.read(path, as_version=4).cells)
    with browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}) as context:
        seen = visit(context, f"{address}/lab/tree/{path.name}?token={token}")
        seen.address, seen.formula = f"{address}/", "mjx-container"
        page = seen.page
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.locator(".jp-InputPrompt", has_text=f"[{count}]:").wait_for(timeout=RUN_LIMIT)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.keyboard.press("Control+s")
        end = time.monotonic() + WAIT_LIMIT / 1000
        while (saved := read_saved(path)) is None:
            assert time.monotonic() < end, "JupyterLab did not save the notebook"
            page.wait_for_timeout(200)
        seen.notebook = saved
        yield seen


def read_saved(path):
    """The notebook once its last code has been run and saved, or None; the server empties the file to write it."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except nbformat.reader.NotJSONError:
        return None
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return notebook if code[-1].execution_count is not None else None


def test_lab_runs_every_cell_in_order(lab):
    code = [cell for cell in lab.notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert [output for cell in code for output in cell.outputs if output.output_type == "error"] == []


WATCHED = """from cs236781.jupyter_utils import LiveOutput
from hw4 import experiments
from hw4.study import live

EPISODES = 1_000_000
watch = live.Live(EPISODES, LiveOutput().show).watch
results = experiments.run_or_load("w.dat", ["vpg"], seed=1, max_episodes=EPISODES, watch=watch, returns_early=True)
"""


def test_lab_shows_a_training_as_it_goes_on_and_its_interrupt_costs_nothing(browser, lab_server):
    address, token, project = lab_server
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}  # without it, the lab would ask for one
    path = write_notebook(project / "watched.ipynb", WATCHED, "print('then:', list(results))", kernelspec=kernel)
    with browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}) as context:
        # In a workspace of its own: in the other one the lab opens the notebook of the tests before, too.
        page = visit(context, f"{address}/lab/workspaces/watched/tree/{path.name}?token={token}").page
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        picture = page.locator(".jp-OutputArea svg[aria-label^='vpg:']")
        picture.wait_for()
        first = picture.get_attribute("aria-label")
        expect(picture).not_to_have_attribute("aria-label", first, timeout=WAIT_LIMIT)
        assert picture.count() == 1
        page.get_by_role("menuitem", name="Kernel", exact=True).click()
        page.get_by_role("menuitem", name="Interrupt Kernel").click()
        page.get_by_text("then: ['vpg']").wait_for()
        page.get_by_text("what was learned so far is kept").wait_for()
        assert page.get_by_text("Traceback").count() == 0
