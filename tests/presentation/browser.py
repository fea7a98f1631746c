"""A headless browser, to see pages as their readers do."""

import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

BROWSER: Optional[str] = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))),
    None,
)

needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="there is no chromium, chromium-browser, google-chrome or chrome to open pages in"
)

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    # What a page logs comes out on the standard error stream.
    "--enable-logging=stderr",
)

# Added to a copy of the page, it writes into the page what the page has become.
_MEASURE = """<script>
const sizes = (selector) => Array.from(document.querySelectorAll(selector), (element) => {
  const box = element.getBoundingClientRect();
  return [element.id || element.closest("[id]")?.id || "", Math.round(box.width), Math.round(box.height)];
});
const colour = (element, name) => getComputedStyle(element)[name];
const found = document.createElement("pre");
found.id = "measured";
found.textContent = JSON.stringify({
  width: document.documentElement.clientWidth,
  scrolls: document.documentElement.scrollWidth,
  sections: sizes("section"), tables: sizes("table"), pictures: sizes("svg"),
  background: colour(document.body, "backgroundColor"), ink: colour(document.body, "color"),
  text: Array.from(document.querySelectorAll("svg text"), (element) => colour(element, "fill")),
  resources: performance.getEntriesByType("resource").map((entry) => entry.name),
});
document.body.append(found);
</script></body>"""


def run_browser(page: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The browser on a page, with an empty profile of its own."""
    assert BROWSER is not None
    with tempfile.TemporaryDirectory() as profile:
        return subprocess.run(
            [BROWSER, *_FLAGS, f"--user-data-dir={profile}", *arguments, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )


def console(stderr: str) -> List[str]:
    """What pages logged: errors of scripts, and what their policy kept them from loading."""
    return [line for line in stderr.splitlines() if "CONSOLE" in line]


def measured(page: Path, folder: Path, width: int = 1200, *arguments: str) -> Dict[str, Any]:
    """
    How large everything is once the page is laid out.

    # Parameters

    page : `Path`
    folder : `Path`
        Where a copy of the page is written that measures itself.
    width : `int`
        Of the window, in pixels.
    arguments : `str`
        Further ones of the browser.
    """
    text = page.read_text(encoding="utf-8")
    copy = folder / f"measured-{page.name}"
    # The page's own policy allows no script.
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    copy.write_text(without_policy.replace("</body>", _MEASURE), encoding="utf-8")
    completed = run_browser(copy, f"--window-size={width},1000", "--dump-dom", *arguments)
    assert console(completed.stderr) == []
    match = re.search(r'<pre id="measured">(.*?)</pre>', completed.stdout, re.DOTALL)
    assert match is not None
    found: Dict[str, Any] = json.loads(unescape(match[1]))
    return found


def screenshot(page: Path, file: Path, width: int, height: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Write a picture of the page to a PNG file."""
    return run_browser(page, f"--window-size={width},{height}", f"--screenshot={file}", *arguments)
