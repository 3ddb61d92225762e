"""A server of its own process, and Debian's Chromium."""

import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[str]:
    """`jaxcls serve` with these arguments; gives its address."""
    command = [sys.executable, "-m", "jaxcls.cli", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    too_long = threading.Timer(120, process.kill)
    too_long.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, f"the server did not start: {line!r}"
        yield line.split()[-1]
    finally:
        too_long.cancel()
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        # In containers /dev/shm is small, and root has no sandbox of its own.
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()
