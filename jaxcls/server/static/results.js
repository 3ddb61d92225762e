function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function bars(rows, logits) {
  const values = rows.map((row) => row.value);
  const signed = logits || values.some((value) => value < 0 || value > 1);
  const most = signed ? Math.max(1e-9, ...values.map(Math.abs)) : 1;
  return rows.map(({ name, value }) => {
    const item = element("li");
    const track = element("div", signed ? "track signed" : "track");
    const fill = element("div", value < 0 ? "fill negative" : "fill");
    const share = (100 * Math.abs(value)) / most / (signed ? 2 : 1);
    fill.style.width = `${share}%`;
    fill.style.left = signed ? `${value < 0 ? 50 - share : 50}%` : "0";
    track.append(fill);
    track.setAttribute("aria-hidden", "true");
    item.append(element("span", "name", name), element("span", "value", bars.format(value, logits)), track);
    return item;
  });
}

bars.format = (value, logits) =>
  logits || value < 0 || value > 1 ? value.toFixed(3) : `${(100 * value).toFixed(value > 0 && value < 0.001 ? 3 : 1)} %`;

const STAGES = [
  ["tokenize_ms", "Tokenise"],
  ["queue_ms", "Queue"],
  ["compute_ms", "Compute"],
];

// Items of a request run side by side, so that the slowest is what was waited for.
export function timings(answer, elapsed) {
  const each = [answer, ...(answer.data ?? answer.results ?? [])].map((item) => item.timings).filter(Boolean);
  const stages = each.length
    ? STAGES.map(([field, name]) => [name, Math.max(...each.map((item) => item[field]))])
    : [];
  const tokens = answer.usage?.prompt_tokens;
  const facts = [...stages, ["Round trip", elapsed]].map(([name, value]) => [name, `${value.toFixed(1)} ms`]);
  if (tokens !== undefined) facts.push(["Prompt tokens", String(tokens)]);
  return facts.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", value));
    return pair;
  });
}

export function tokenList(title, { tokens, token_strs }) {
  const list = element("ol", "tokens");
  list.append(
    ...tokens.map((id, i) => {
      const item = element("li", "", token_strs[i]);
      item.title = `id ${id}`;
      return item;
    }),
  );
  return title ? [element("h3", "", title), list] : [list];
}
