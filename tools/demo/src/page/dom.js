// Small helpers. All output uses text nodes: no input becomes markup.

export const $ = (selector, root = document) => root.querySelector(selector);

// el("button", { class: "small", onclick }, "Save")
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// A filled-in copy of a <template>.
export const copy = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/g;

// JSON with syntax colours.
export function jsonView(value) {
  const text = JSON.stringify(value, null, 2) ?? "";
  const view = el("pre", { class: "json", tabindex: "0" });
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    view.append(text.slice(end, match.index));
    const kind = match[2] ? "key" : match[1] ? "text" : "value";
    view.append(el("span", { class: `json-${kind}` }, match[1] ?? match[0]));
    if (match[2]) view.append(match[2]);
    end = match.index + match[0].length;
  }
  view.append(text.slice(end));
  return view;
}

// The value of a JSON text, or undefined.
export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

// Calls the demo's API as a user; null on failure.
export async function call(method, path, { token, body } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Token ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  try {
    const response = await fetch(path, { method, headers, body: text });
    return { status: response.status, ok: response.ok, body: parse(await response.text()) };
  } catch {
    return { status: 0, ok: false, body: undefined };
  }
}
