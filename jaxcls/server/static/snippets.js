// The request as others send it. Keys are never written into code that is made to be copied.

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(url, body, key) {
  const parts = [`curl ${quote(url)}`, `-H 'Content-Type: application/json'`];
  if (key) parts.push(`-H "Authorization: Bearer $API_KEY"`);
  parts.push(`-d ${quote(JSON.stringify(body, null, 2))}`);
  return parts.join(" \\\n  ");
}

export function python(url, body, key) {
  const headers = [`"Content-Type": "application/json"`];
  if (key) headers.push(`"Authorization": f"Bearer {os.environ['API_KEY']}"`);
  return [
    "import json",
    ...(key ? ["import os"] : []),
    "from urllib.request import Request, urlopen",
    "",
    `body = ${literal(body, "")}`,
    `headers = {${headers.join(", ")}}`,
    `request = Request(${JSON.stringify(url)}, json.dumps(body).encode(), headers)`,
    "print(json.load(urlopen(request)))",
  ].join("\n");
}

// JSON's strings and numbers are Python's too; its other words are not.
function literal(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => literal(item, inner))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, inner)}`);
  return items.length ? `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${close}` : open + close;
}
