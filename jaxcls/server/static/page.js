import { curl, python } from "./snippets.js";
import { bars, timings, tokenList } from "./results.js";

const $ = (id) => document.getElementById(id);
// Relative to the page, so that a proxy may serve it under a path of its own.
const base = new URL(".", location.href);
const FIRST_BARS = 10;

const EXAMPLES = {
  code: { text: "fn main() {\n    let names = vec![\"Ada\", \"Grace\"];\n    for name in &names {\n        println!(\"Hello, {name}!\");\n    }\n}" },
  language: {
    text: "Loved the new café – the coffee was great.",
    pair: ["How do I reset my password?", "Open the settings, choose “Security”, then “Reset password”."],
    rerank: [
      "How do I reset my password?",
      "Our offices are closed on Sundays.\nOpen the settings, choose “Security”, then “Reset password”.\nA password should have at least twelve characters.",
    ],
  },
};

const server = { model: "", labels: [], one_score: false, routes: new Set(), key: "" };
let running = null;
let shown = null;

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, body, signal) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (server.key) headers.Authorization = `Bearer ${server.key}`;
  let response;
  try {
    response = await fetch(new URL(path, base), {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server cannot be reached. Is it still running?");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new Refused(response.status, explain(response, answer));
}

function explain(response, answer) {
  const said = answer?.error?.message ?? answer?.detail ?? answer?.error;
  const message = typeof said === "string" ? said : `The server answered with status ${response.status}.`;
  const wait = response.headers.get("Retry-After");
  return wait === null ? message : `${message} (in ${wait} s)`;
}

// Modes: which route answers, what it is asked, and how its answer reads.

const has = (route) => server.routes.has(route);
// Of several classes /score and /rerank ask which one's score it is; /classify gives all.
const scores = () => server.one_score && has("/score");
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

const MODES = {
  text: {
    available: () => has("/classify"),
    labels: ["Text", null],
    button: () => "Classify",
    route: () => "classify",
    body: (first) => ({ input: first }),
    needs: (first) => (first ? null : ["first", "Enter a text to classify."]),
    rows: (answer) => classes(answer),
    texts: (first) => [["Text", first]],
  },
  pair: {
    available: () => scores() || has("/classify"),
    labels: ["First text", "Second text"],
    button: () => (scores() ? "Score" : "Classify"),
    route: () => (scores() ? "score" : "classify"),
    body: (first, second) =>
      scores() ? { text_1: first, text_2: second } : { input: { text: first, text_pair: second } },
    needs: (first, second) =>
      !first ? ["first", "Enter the first text."] : !second ? ["second", "Enter the second text."] : null,
    rows: (answer) => (scores() ? [{ name: "Score", value: answer.data[0].score }] : classes(answer)),
    texts: (first, second) => [["First text", first], ["Second text", second]],
  },
  rerank: {
    available: () => server.one_score && has("/rerank"),
    labels: ["Query", "Documents"],
    hint: "One on each line.",
    button: () => "Rank",
    route: () => "rerank",
    body: (first, second) => ({ query: first, documents: lines(second) }),
    needs: (first, second) =>
      !first ? ["first", "Enter a query."] : !lines(second).length ? ["second", "Enter a document on each line."] : null,
    rows: (answer, first, second) =>
      answer.results.map((result) => ({ name: lines(second)[result.index], value: result.relevance_score })),
    texts: (first, second) => [["Query", first], ...lines(second).map((line, i) => [`Document ${i + 1}`, line])],
  },
};

function classes(answer) {
  const { probs } = answer.data[0];
  const rows = probs.map((value, i) => ({ name: server.labels[i] ?? `Class ${i}`, value }));
  return rows.sort((a, b) => b.value - a.value);
}

const mode = () => MODES[document.querySelector('input[name="mode"]:checked')?.value ?? "text"];

function request() {
  const chosen = mode();
  const body = { model: server.model, ...chosen.body($("first").value, $("second").value) };
  if ($("logits").checked) body.use_activation = false;
  return { path: chosen.route(), body };
}

// What is seen.

function showMode() {
  const chosen = mode();
  const [first, second] = chosen.labels;
  $("first-label").textContent = first;
  $("second-label").textContent = second ?? "";
  $("second-field").hidden = second === null;
  $("second-hint").textContent = chosen.hint ?? "";
  $("first").rows = second === null ? 9 : 4;
  $("run").textContent = chosen.button();
  $("example").hidden = example() === undefined;
  clear();
  showCode();
}

function showCode() {
  const { path, body } = request();
  const url = new URL(path, base).href;
  const key = server.key !== "";
  $("curl").textContent = curl(url, body, key);
  $("python").textContent = python(url, body, key);
}

function clear() {
  running?.abort();
  shown = null;
  $("summary").textContent = "Nothing asked yet.";
  $("bars").replaceChildren();
  $("timings").replaceChildren();
  $("all").hidden = true;
  $("tokens").hidden = true;
  fail("");
}

function fail(message, field) {
  $("error").textContent = message;
  for (const id of ["first", "second"]) $(id).toggleAttribute("aria-invalid", id === field);
  if (field) $(field).focus();
}

function showRows(all) {
  const { rows, logits } = shown;
  const visible = all ? rows : rows.slice(0, FIRST_BARS);
  $("bars").replaceChildren(...bars(visible, logits));
  $("all").hidden = visible.length === rows.length;
  $("all").textContent = `Show all ${rows.length}`;
}

function showSummary() {
  const [best] = shown.rows;
  const strong = document.createElement("strong");
  strong.textContent = best.name === "Score" ? shown.format(best.value) : best.name;
  const rest = best.name === "Score" ? "" : ` ${shown.format(best.value)}`;
  $("summary").replaceChildren(strong, rest);
}

async function run() {
  const chosen = mode();
  const texts = [$("first").value, $("second").value];
  const missing = chosen.needs(...texts.map((text) => text.trim()));
  if (missing) {
    fail(missing[1], missing[0]);
    return;
  }
  fail("");
  running?.abort();
  const mine = (running = new AbortController());
  $("result").setAttribute("aria-busy", "true");
  try {
    const { path, body } = request();
    const start = performance.now();
    const answer = await call(path, { ...body, return_timings: true }, mine.signal);
    const elapsed = performance.now() - start;
    const logits = body.use_activation === false;
    shown = { rows: chosen.rows(answer, ...texts), logits, format: (value) => bars.format(value, logits) };
    showRows(false);
    showSummary();
    $("timings").replaceChildren(...timings(answer, elapsed));
    await showTokens(chosen.texts(...texts), mine.signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) console.error(error);
    if (error.status === 401) askKey(error.message);
    else fail(error instanceof Refused ? error.message : "The answer of the server is not what this page expects.");
  } finally {
    if (running === mine) $("result").removeAttribute("aria-busy");
  }
}

async function showTokens(texts, signal) {
  $("tokens").hidden = !has("/tokenize");
  if (!has("/tokenize")) return;
  const ask = ([, text]) => call("tokenize", { model: server.model, prompt: text, return_token_strs: true }, signal);
  const answers = await Promise.all(texts.map(ask));
  const count = answers.reduce((sum, answer) => sum + answer.count, 0);
  $("token-count").textContent = `(${count})`;
  $("token-lists").replaceChildren(...answers.flatMap((answer, i) => tokenList(texts.length > 1 ? texts[i][0] : "", answer)));
}

function example() {
  const name = document.querySelector('input[name="mode"]:checked')?.value ?? "text";
  const kind = server.labels.some((label) => /^(python|rust)$/i.test(label)) ? "code" : "language";
  return EXAMPLES[kind][name];
}

// The server.

function askKey(message) {
  $("key-form").hidden = false;
  $("key-error").textContent = server.key ? message : "";
  $("key").focus();
}

async function connect() {
  try {
    const about = await call("page/server");
    Object.assign(server, about, { routes: new Set(about.routes) });
  } catch (error) {
    if (error.status === 401) {
      $("model").textContent = "Locked";
      askKey(error.message);
    } else {
      $("model").textContent = error.message;
    }
    return;
  }
  $("key-form").hidden = true;
  $("key-error").textContent = "";
  $("model").textContent = server.model;
  document.title = `${server.model} – jaxcls`;
  const choices = [...document.querySelectorAll('input[name="mode"]')];
  for (const choice of choices) {
    choice.disabled = !MODES[choice.value].available();
    choice.parentElement.hidden = choice.disabled;
  }
  const first = choices.find((choice) => choice.checked && !choice.disabled) ?? choices.find((choice) => !choice.disabled);
  if (first === undefined) {
    $("form").hidden = true;
    $("summary").textContent = "This page has nothing for this model; its API is described under /docs.";
    return;
  }
  first.checked = true;
  showMode();
}

async function copy(button) {
  const target = $(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(target.textContent);
    $("copied").textContent = "Copied.";
    button.firstChild.textContent = "Copied";
    setTimeout(() => (button.firstChild.textContent = "Copy"), 1500);
  } catch {
    // Browsers give the clipboard to https and localhost only: select, so that Ctrl+C copies.
    getSelection().selectAllChildren(target);
    $("copied").textContent = "Selected; press Ctrl+C to copy.";
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});
$("form").addEventListener("input", showCode);
$("modes").addEventListener("change", showMode);
$("logits").addEventListener("change", () => {
  if (shown !== null) run();
});
$("all").addEventListener("click", () => {
  showRows(true);
  $("bars").lastElementChild.scrollIntoView({ block: "nearest" });
});
$("example").addEventListener("click", () => {
  const texts = [example()].flat();
  [$("first").value, $("second").value] = [texts[0], texts[1] ?? ""];
  showCode();
  run();
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  server.key = $("key").value.trim();
  connect();
});
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
connect();
