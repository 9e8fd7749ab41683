"""Makes the README's pictures of a dream, of a report and of play, from pretrained/cartpole: ``make pictures``.

Needs OpenGL for cartpole, and Chromium for the pages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

DOCS = Path(__file__).resolve().parent
MODEL = ["checkpoint=pretrained/cartpole", "env=cartpole"]
SIZE: ViewportSize = {"width": 1000, "height": 800}
MOMENT = 24  # decisions that are played, and the frame of the report that is shown


def main() -> None:
    """Into docs/."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("agents.cem_plan", *MODEL, f"run={folder / 'planned'}")
        run(
            "worldmodel.visualize",
            MODEL[0],
            f"data={folder / 'planned' / 'evaluation'}",
            "samples=0",
            "horizon=40",
            f"run={folder / 'seen'}",
        )
        shutil.copy(folder / "seen" / "open_loop.gif", DOCS / "dream.gif")
        with chromium() as page, playing(folder / "played") as address:
            page.goto((folder / "planned" / "report.html").as_uri())
            page.wait_for_selector("#viewer[data-shown]")
            page.fill("#time", str(MOMENT))
            page.wait_for_selector(f"#viewer[data-shown='{MOMENT}/1']")
            page.evaluate("document.getElementById('evaluation').scrollIntoView()")
            page.screenshot(path=DOCS / "report.png")
            page.goto(address)
            page.wait_for_selector("body[data-step]")
            page.select_option("#driver", "planner")
            for step in range(1, MOMENT + 1):
                page.click("#step")
                page.wait_for_selector(f"body[data-step='{step}']")
            page.screenshot(path=DOCS / "play.png")


def run(module: str, *overrides: str) -> None:
    """A command of the project."""
    subprocess.run([sys.executable, "-m", module, *overrides], cwd=DOCS.parent, check=True)


@contextmanager
def playing(folder: Path) -> Iterator[str]:
    """`agents.play` while it serves: its address."""
    command = [sys.executable, "-m", "agents.play", *MODEL, "port=0", f"run={folder}"]
    with subprocess.Popen(command, cwd=DOCS.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()


@contextmanager
def chromium() -> Iterator[Page]:
    """A page of Debian's browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(120_000)
        yield page
        browser.close()


if __name__ == "__main__":
    main()
