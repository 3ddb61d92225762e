"""The page at `/`, as people use it: in Chromium, against a server of its own process."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient

import jaxcls
from jaxcls.server.app import create_app
from jaxcls.server.settings import Settings
from tests.server.browser import CHROMIUM, chromium, served
from tests.tiny import BERT, write_checkpoint

TEXT = "it's \"fn\" \\ <b>$HOME `x`</b>\nlet s = 'é 🎉';\n"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")
STATIC = Path(jaxcls.__file__).parent / "server" / "static"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page; it must not ask anybody else for anything, nor complain."""
    context = browser.new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    opened = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
    opened.goto(url)
    expect(opened.locator("#model")).to_have_text("demo")
    yield opened
    context.close()
    assert not complaints
    assert asked
    assert all(address.startswith(url) for address in asked)


@pytest.fixture(scope="module")
def offline() -> Any:
    [output] = jaxcls.LLM("demo").classify(TEXT)
    return output.outputs


@pytest.fixture(scope="module")
def offline_tokens() -> list[str]:
    backend = jaxcls.LLM("demo").model.tokenizer.backend
    assert backend is not None
    return backend.encode(TEXT).tokens


def shown(page: Page) -> dict[str, str]:
    """Label -> value of all bars."""
    if page.locator("#all").is_visible():
        page.locator("#all").click()
    bars = page.locator("#bars li")
    return {bar.locator(".name").inner_text(): bar.locator(".value").inner_text() for bar in bars.all()}


@needs_chromium
def test_a_text_is_classified_by_keyboard_alone(page: Page, offline: Any) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skips to the form
    for _ in range(2):  # the mode, the text
        page.keyboard.press("Tab")
    expect(page.locator("#first")).to_be_focused()
    page.keyboard.insert_text(TEXT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#summary strong")).to_have_text(offline.label)
    assert page.locator("#bars li").count() == 10
    values = shown(page)
    best = offline.labels(top_k=offline.num_classes)
    assert list(values)[:3] == [label for label, _ in best[:3]]
    assert {label: float(value.removesuffix(" %")) for label, value in values.items()} == pytest.approx(
        {label: 100 * p for label, p in best}, abs=0.0501
    )
    assert {"Tokenise", "Queue", "Compute", "Round trip"} <= set(page.locator("#timings dt").all_inner_texts())


@needs_chromium
def test_the_switch_shows_logits(page: Page, offline: Any) -> None:
    page.locator("#first").fill(TEXT)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#summary")).to_contain_text("%")
    page.get_by_role("switch", name="Logits").press("Space")
    expect(page.locator("#summary")).not_to_contain_text("%")
    np.testing.assert_allclose(
        [float(value) for value in shown(page).values()], sorted(offline.logits, reverse=True), atol=2e-3
    )


@needs_chromium
def test_what_is_copied_works(page: Page, offline: Any) -> None:
    page.locator("#first").fill(TEXT)
    for name, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        page.get_by_role("button", name=f"Copy {name}").click()
        expect(page.locator("#copied")).to_have_text("Copied.")
        code = page.evaluate("navigator.clipboard.readText()")
        result = subprocess.run([*command, code], capture_output=True, text=True, check=True)
        answer = json.loads(result.stdout) if name == "curl" else ast.literal_eval(result.stdout)
        np.testing.assert_allclose(answer["data"][0]["probs"], offline.probs, atol=1e-5)


@needs_chromium
def test_pairs_are_offered_where_the_model_takes_them_and_ranking_where_it_ranks(page: Page) -> None:
    assert page.get_by_role("radio", name="Rerank").count() == 0  # the embedded model has classes, not one score
    page.get_by_role("radio", name="Pair").check(force=True)
    page.get_by_label("First text").fill("def f():")
    page.get_by_label("Second text").fill("    return 1")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#bars li").first).to_be_visible()
    assert '"text_pair": "    return 1"' in page.locator("#curl").inner_text()
    assert len(shown(page)) == 28


@needs_chromium
def test_tokens_are_the_tokenizers(page: Page, offline_tokens: list[str]) -> None:
    page.locator("#first").fill(TEXT)
    page.get_by_role("button", name="Classify").click()
    page.locator("#tokens summary").click()
    assert page.locator(".tokens li").all_inner_texts() == offline_tokens
    expect(page.locator("#token-count")).to_have_text(f"({len(offline_tokens)})")
    assert page.locator("main b").count() == 0  # a text is never markup


@needs_chromium
def test_documents_are_ranked_and_pairs_scored_by_a_model_of_one_score(browser: Browser, tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path, {**BERT, "id2label": {"0": "relevance"}})
    documents = ["a very sad dog", "the cat sat on a mat", "happy"]
    llm = jaxcls.LLM(model)
    ranked = [(result.document, result.score) for result in llm.rerank("cat", documents)]
    [pair] = llm.score("cat", documents[0], pooling_params=jaxcls.PoolingParams(use_activation=False))
    assert pair.outputs is not None
    with served(str(model)) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_role("radio", name="Rerank").check(force=True)
        page.get_by_label("Query").fill("cat")
        page.get_by_label("Documents").fill("\n\n".join(documents))
        page.get_by_role("button", name="Rank").click()
        expect(page.locator("#bars li")).to_have_count(3)
        assert list(shown(page).items()) == [(document, f"{100 * score:.1f} %") for document, score in ranked]
        assert {"Tokenise", "Queue", "Compute", "Round trip"} <= set(page.locator("#timings dt").all_inner_texts())
        answer = json.loads(subprocess.check_output(["bash", "-c", page.locator("#curl").inner_text()]))
        assert [documents[result["index"]] for result in answer["results"]] == [document for document, _ in ranked]
        page.get_by_role("switch", name="Logits").check(force=True)
        page.get_by_role("radio", name="Pair").check(force=True)
        page.get_by_label("Second text").fill(documents[0])
        page.get_by_role("button", name="Score").click()
        expect(page.locator("#bars .value")).to_have_text(f"{pair.outputs.score:.3f}")
        page.close()


@needs_chromium
def test_mistakes_are_explained_where_they_are_made(page: Page) -> None:
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert").filter(has_text="Enter a text")).to_be_visible()
    expect(page.locator("#first")).to_be_focused()
    page.locator("#first").fill("x = 1\n" * 2_000)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#error")).to_contain_text("tokens")
    page.locator("#first").fill("x = 1")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#error")).to_be_empty()
    page.context.set_offline(True)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#error")).to_contain_text("cannot be reached")


@needs_chromium
def test_no_width_needs_sideways_scrolling(page: Page) -> None:
    page.locator("#first").fill("x" * 500)
    for width in (320, 390, 800, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_with_a_key_the_page_is_there_and_knows_nothing() -> None:
    llm = jaxcls.AsyncLLM("demo")
    with TestClient(create_app(llm, Settings(model_names=("demo",), api_keys=("secret",)))) as client:
        response = client.get("/")
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "demo" not in response.text
        assert client.get("/page/server").status_code == 401
        about = client.get("/page/server", headers={"Authorization": "Bearer secret"}).json()
        assert about["labels"] == list(llm.model.checkpoint.labels.names)
        assert (about["model"], about["one_score"], "/classify" in about["routes"]) == ("demo", False, True)
        for name in re.findall(r'(?:src|href)="(page/[^"]+)"', response.text):
            assert client.get(f"/{name}").status_code == 200
    llm.close()


def test_embedders_rank_and_do_not_classify(bert_path: Path) -> None:
    llm = jaxcls.AsyncLLM(bert_path, convert="embed")
    with TestClient(create_app(llm, Settings(model_names=("embedder",)))) as client:
        about = client.get("/page/server").json()
    llm.close()
    assert about["one_score"]
    assert "/classify" not in about["routes"]
    assert {"/score", "/rerank"} <= set(about["routes"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(scheme: str) -> None:
    """WCAG 2.2: 4.5 for text, 3 for edges of controls and bars."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part))
        for part in (STATIC / "page.css").read_text().split("@media", 2)[:2]
    )
    colours = light if scheme == "light" else dark
    assert set(light) == set(dark)
    for ink, ground, least in (
        *((ink, ground, 4.5) for ink in ("ink", "soft") for ground in ("ground", "card", "code", "track")),
        ("on-accent", "accent", 4.5),
        ("error", "error-ground", 4.5),
        ("ink", "chosen", 4.5),
        *((ink, "card", 3) for ink in ("edge", "accent", "bar", "negative")),
    ):
        a, b = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
        assert (a + 0.05) / (b + 0.05) >= least, (ink, ground)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, of WCAG 2.2."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
