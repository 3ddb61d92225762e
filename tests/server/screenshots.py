"""Takes the pictures of docs/serve.md: python -m tests.server.screenshots [FOLDER]."""

import sys
from pathlib import Path
from typing import Literal

from tests.server.browser import chromium, served

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
VIEWS: dict[str, tuple[int, int, Literal["light", "dark"]]] = {
    "light": (1200, 900, "light"),
    "dark": (1200, 900, "dark"),
    "narrow": (390, 844, "light"),
}


def main(folder: Path) -> None:
    """One picture for each view."""
    folder.mkdir(parents=True, exist_ok=True)
    with served() as url, chromium() as browser:
        for name, (width, height, scheme) in VIEWS.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(url)
            page.get_by_role("button", name="Example").click()
            page.locator("#bars li").first.wait_for()
            page.locator("#tokens summary").click()
            page.locator(".tokens li").first.wait_for()
            page.screenshot(path=folder / f"page-{name}.png", full_page=True)
            page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
