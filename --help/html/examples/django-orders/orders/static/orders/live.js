// Keeps the page as things are: hears what the site publishes, also what it missed. What the gateway
// cannot deliver any more, it fetches.

import { HighTemplar } from "@high-templar/client";

const { url, rooms, position } = JSON.parse(document.getElementById("live").textContent);

// The session's cookie goes to the host that gave it, by the name in the address bar.
const address = new URL(url);
address.hostname = location.hostname;

const socket = new HighTemplar({ url: address });
for (const [kind, room] of Object.entries(rooms)) {
  const hear = (data) => {
    heard.push([kind, data]);
    show(kind, data);
  };
  // Something was missed: the gateway does not know the page's position, or was away for too long.
  const onSubscribed = () => {
    reveal(kind, true);
    refetch();
  };
  // Everything since the page's position is heard next, or since the loss of a connection.
  const onRecovered = () => {
    reveal(kind, true);
    document.body.dataset.current = "";
  };
  const onError = (error) => {
    // The user may not enter it any more. If that changes, the client subscribes again by itself.
    if (/^(unsubscribed|room-not-found)$/.test(error.code)) reveal(kind, false);
    else console.error(error);
  };
  const since = position ?? undefined;
  socket.subscribe(room, hear, { onSubscribed, onRecovered, onError, since });
}

// --- What is heard ---------------------------------------------------------------------------

/** The newest version of everything that has versions: what is older came late. */
const versions = new Map();
/** What came since the last fetch began, which may be newer than what it brings. */
let heard = [];

const SHOWN_MAX = 50;
const lists = {
  order: document.getElementById("orders"),
  chat: document.getElementById("chat"),
  presence: document.getElementById("online"),
};

function show(kind, data) {
  const key = `${kind}-${data.id}`;
  if (data.version < (versions.get(key) ?? 0)) return;
  if (data.version) versions.set(key, data.version);
  const old = lists[kind].querySelector(`[data-key="${key}"]`);
  if (data.isOnline === false) return old?.remove();
  const row = filled(kind, data);
  row.dataset.key = key;
  row.classList.add("fresh");
  if (old) old.replaceWith(row);
  else if (kind === "order") insertByNumber(row, data.id);
  else lists[kind].append(row);
  if (kind === "chat") lists.chat.scrollTop = lists.chat.scrollHeight;
  // Not more than the page itself would show.
  if (lists.order.children.length > SHOWN_MAX) lists.order.lastElementChild.remove();
  if (lists.chat.children.length > SHOWN_MAX) lists.chat.firstElementChild.remove();
}

/** Shows or hides what belongs to a room; what may not be seen any more goes from the page. */
function reveal(kind, isVisible) {
  const section = (list) => list.closest("section");
  section(lists[kind]).hidden = !isVisible;
  if (!isVisible) lists[kind].replaceChildren();
  const isAnything = Object.values(lists).some((list) => !section(list).hidden);
  document.getElementById("no-role").hidden = isAnything;
}

/** The newest order is the first. */
function insertByNumber(row, id) {
  const number = ({ dataset }) => Number(dataset.key.split("-")[1]);
  const older = [...lists.order.children].find((other) => number(other) < id);
  lists.order.insertBefore(row, older ?? null);
}

/** A row as the templates make it. Texts are set as texts: what others wrote is never markup. */
function filled(kind, data) {
  const row = document.getElementById(`${kind}-template`).content.firstElementChild.cloneNode(true);
  for (const field of row.querySelectorAll("[data-field]")) {
    field.textContent = data[field.dataset.field] ?? "";
  }
  if (data.version) row.dataset.version = data.version;
  if (data.channel) row.dataset.channel = data.channel;
  if (data.status) row.dataset.status = data.status;
  const form = row.querySelector("form");
  if (form) {
    // Not `form.action`: what is in a template has no address to start from.
    form.setAttribute("action", form.getAttribute("action").replace("/0/", `/${data.id}/`));
    form.hidden = !data.following;
  }
  const time = row.querySelector("time");
  if (time) time.dateTime = data.at;
  tidy(row);
  return row;
}

// --- What was missed -------------------------------------------------------------------------

let isFetching = false;
let isStale = false;

/** Fetches the page anew and takes its lists; asked for meanwhile, it does so once more. */
async function refetch() {
  isStale = true;
  if (isFetching) return;
  isFetching = true;
  while (isStale) {
    isStale = false;
    heard = [];
    try {
      await replaceLists();
    } catch {
      // The site is away.
      isStale = true;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  isFetching = false;
}

async function replaceLists() {
  const response = await fetch(location.href);
  if (response.redirected) return location.assign(response.url); // Not signed in any more.
  if (!response.ok) throw new Error(`${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const list of Object.values(lists)) {
    list.replaceChildren(...page.getElementById(list.id).children);
  }
  learn();
  for (const [kind, data] of heard) show(kind, data);
  document.body.dataset.current = "";
}

/** Notes the versions that the page came with. */
function learn() {
  for (const row of document.querySelectorAll("[data-key][data-version]")) {
    const { key, version } = row.dataset;
    versions.set(key, Math.max(Number(version), versions.get(key) ?? 0));
  }
  tidy(document);
  lists.chat.scrollTop = lists.chat.scrollHeight;
}

/** Times as the clock on this wall has them. */
function tidy(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }
}

// --- What the connection does ----------------------------------------------------------------

const texts = {
  connecting: "Connecting",
  open: "Live",
  waiting: "Connection lost",
  refused: "Signed out",
  failed: "Not live",
  closed: "Not live",
};

function showState({ state }) {
  document.body.dataset.state = state;
  document.querySelector("#state .text").textContent = texts[state];
  // The site says whether the user is still signed in.
  if (state === "refused") refetch();
}

socket.addEventListener("state", ({ detail }) => showState(detail));
showState(socket.status);
learn();

// --- What is sent ----------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-live]")) return;
  event.preventDefault();
  send(event.target);
});

/** Sends a form without leaving the page; what comes of it is heard like everything else. */
async function send(form) {
  const error = form.closest("section").querySelector(".error");
  const body = new FormData(form);
  const button = form.querySelector("button");
  button.disabled = true;
  let wrong = null;
  try {
    const headers = { Accept: "application/json" };
    const response = await fetch(form.action, { method: "POST", body, headers });
    if (response.redirected) return location.assign(response.url);
    if (!response.ok) wrong = (await response.json()).error;
  } catch {
    wrong = "That did not work. Please try again.";
  }
  button.disabled = false;
  error.textContent = wrong ?? "";
  error.hidden = !wrong;
  if (wrong) return;
  for (const field of form.querySelectorAll("[name=text], [name=quantity]")) field.value = "";
  form.closest("details")?.removeAttribute("open");
  if (socket.state !== "open") refetch();
}
