"""Pages of ours in a real browser, where one is installed."""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def browse(path: Path, address: str = "", *flags: str) -> str:
    """The document as a browser has it once the page is drawn."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)} is on the PATH")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [
        program,
        "--headless",
        *root,
        "--disable-gpu",
        f"--user-data-dir={path.parent}/profile",
    ]
    command += ["--virtual-time-budget=5000", "--dump-dom", *flags, f"{path.as_uri()}{address}"]
    ran = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return ran.stdout.decode("utf-8")


def ask(page: Path, script: str, address: str = "", *flags: str) -> dict[str, Any]:
    """Run a script at the end of a page that fills in the object `told`; what it told.

    The page must have drawn itself without errors.
    """
    told = """<script type="module">
      const told = {}, $ = (id) => document.getElementById(id);
      const text = (selector) => [...document.querySelectorAll(selector)].map((e) => e.textContent);
      %s
      const node = document.createElement("pre");
      node.id = "told"; node.textContent = btoa(encodeURIComponent(JSON.stringify(told)));
      document.body.append(node);
    </script></body>"""
    asked = page.with_name(f"asked-{page.name}")
    asked.write_text(page.read_text("utf-8").replace("</body>", told % script), encoding="utf-8")
    drawn = browse(asked, address, *flags)
    html = re.search("<html[^>]*>", drawn)
    assert html and 'data-errors="0"' in html[0] and 'data-ready="true"' in html[0], html
    found = re.search('<pre id="told">([^<]*)</pre>', drawn)
    assert found, "the script stopped"
    answer: dict[str, Any] = json.loads(unquote(base64.b64decode(found[1]).decode()))
    return answer
