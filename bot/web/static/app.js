// Keeps an open page fresh and sends its forms without leaving it. Without this script every page works by reloading.
// The server renders; here elements are only replaced where their data-stamp differs, so focus, typed text, open
// details and the scroll position stay.
"use strict";

const said = document.getElementById("said");
const main = document.getElementById("main");
const seen = new WeakMap(); // of each part, the server's HTML that it shows
let source = null;

// ---------------------------------------------------------------- times in the reader's own clock

function localise(root) {
  for (const time of root.querySelectorAll("time[data-clock]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const isToday = at.toDateString() === new Date().toDateString();
    const style = isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
    time.textContent = new Intl.DateTimeFormat(undefined, style).format(at);
    time.title = at.toString();
  }
}

// ---------------------------------------------------------------- what a replaced element must not lose

function remember(root) {
  const active = document.activeElement;
  return {
    focus: active && root.contains(active) && active.id ? active.id : "",
    selection: active && "selectionStart" in active ? [active.selectionStart, active.selectionEnd] : null,
    values: [...root.querySelectorAll("input[type=text][id], textarea[id]")]
      .filter((field) => field.value !== field.defaultValue).map((field) => [field.id, field.value]),
    open: [...root.querySelectorAll("details[open][id]")].map((details) => details.id),
    hadFocus: Boolean(active && root.contains(active)),
  };
}

function restore(root, kept) {
  for (const id of kept.open) root.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  for (const [id, value] of kept.values) {
    const field = root.querySelector(`#${CSS.escape(id)}`);
    if (field) field.value = value;
  }
  if (!kept.hadFocus) return;
  const again = kept.focus ? root.querySelector(`#${CSS.escape(kept.focus)}`) : null;
  const target = again || (root.matches("[tabindex]") ? root : root.querySelector("article[tabindex]"));
  target?.focus({ preventScroll: true });
  if (again && kept.selection && kept.selection[0] !== null) again.setSelectionRange(...kept.selection);
}

// ---------------------------------------------------------------- the page as the server sees it now

function isAtEnd() {
  return window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 80;
}

function show(fresh) {
  const atEnd = isAtEnd();
  const news = [];
  for (const list of document.querySelectorAll("[data-list]")) {
    const now = fresh.getElementById(list.id);
    if (now) news.push(...renew(list, now));
  }
  for (const part of document.querySelectorAll("[data-part]")) {
    const now = fresh.getElementById(part.id);
    if (now && now.innerHTML !== seen.get(part)) {
      seen.set(part, now.innerHTML);
      part.replaceChildren(...document.importNode(now, true).childNodes);
      localise(part);
    }
  }
  document.title = fresh.title;
  const sentence = fresh.getElementById("said")?.textContent || "";
  if (sentence) tell(sentence);
  else if (news.length) hear(news.join(". "));
  if (news.length && atEnd && document.getElementById("log")) toEnd();
}

function renew(list, now) {
  const news = [];
  const old = new Map([...list.children].map((child) => [child.id, child]));
  let before = list.firstElementChild;
  for (const child of [...now.children]) {
    const had = old.get(child.id);
    old.delete(child.id);
    if (had && had.dataset.stamp === child.dataset.stamp) {
      if (had === before) before = had.nextElementSibling;
      else list.insertBefore(had, before);
      continue;
    }
    const made = document.importNode(child, true);
    if (child.dataset.say) news.push(child.dataset.say);
    localise(made);
    if (had) {
      const kept = remember(had);
      if (had === before) before = had.nextElementSibling;
      had.replaceWith(made);
      restore(made, kept);
    } else {
      made.classList.add("is-new");
      list.insertBefore(made, before);
    }
  }
  for (const gone of old.values()) {
    if (gone.contains(document.activeElement)) main.focus({ preventScroll: true });
    gone.remove();
  }
  return news;
}

function toEnd() {
  window.scrollTo({ top: document.documentElement.scrollHeight });
}

function tell(sentence) {
  said.textContent = sentence;
}

const ear = document.createElement("p");
ear.className = "hidden";
ear.setAttribute("role", "status");
ear.setAttribute("aria-live", "polite");
document.body.append(ear);

function hear(text) {
  ear.textContent = text.slice(0, 400);
}

async function read(response) {
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

let looking = false;
let again = false;

async function look() {
  if (looking) { again = true; return; }
  looking = true;
  try {
    const response = await fetch(location.pathname, { headers: { Accept: "text/html" } });
    if (response.ok) show(await read(response));
    else if (response.status === 401 || response.status === 404) location.reload();
  } catch { /* away: the stream tells us to look again when it is back */ }
  looking = false;
  if (again) { again = false; look(); }
}

// An answer while it is written: in the task's card, until the card has it.
function draft({ task, text }) {
  const card = document.getElementById(`task-${task}`);
  if (!card || card.querySelector(".answer:not(.is-draft)")) return;
  let part = card.querySelector(".is-draft");
  if (!text) { part?.remove(); return; }
  const atEnd = isAtEnd();
  if (!part) {
    part = document.createElement("p");
    part.className = "answer is-draft";
    part.setAttribute("aria-label", "Being written");
    card.insertBefore(part, card.querySelector(":scope > :is(.facts, .quote, .buttons, .card-foot)"));
  }
  part.textContent = text;
  if (atEnd && document.getElementById("log")) toEnd();
}

function listen() {
  if (!main?.dataset.live || source) return;
  const query = new URLSearchParams({ page: main.dataset.live, stamp: main.dataset.stamp });
  source = new EventSource(`/live?${query}`);
  source.addEventListener("look", look);
  source.addEventListener("draft", (event) => draft(JSON.parse(event.data)));
  source.addEventListener("gone", () => { source.close(); location.reload(); });
}

// ---------------------------------------------------------------- forms

function freshNonce(form) {
  const field = form.elements.namedItem("nonce");
  if (!field) return;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  field.value = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function confirmed(form) {
  const dialog = document.createElement("dialog");
  const title = document.createElement("h2");
  title.id = "dialog-title";
  title.textContent = form.dataset.confirm;
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(title);
  const exact = form.closest(".card")?.querySelector(".exact");
  if (exact) dialog.append(exact.cloneNode(true));
  const row = document.createElement("form");
  row.method = "dialog";
  row.className = "buttons";
  const own = form.querySelector("button[type=submit]");
  const label = [...own.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join("").trim();
  for (const [value, text, style] of [["yes", label, own.className], ["", "Go back", ""]]) {
    const button = document.createElement("button");
    button.value = value;
    button.textContent = text;
    button.className = style;
    row.append(button);
  }
  dialog.append(row);
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => { resolve(dialog.returnValue === "yes"); dialog.remove(); });
    dialog.showModal();
  });
}

async function send(form) {
  if (form.dataset.sending) return;
  if (form.dataset.confirm && !(await confirmed(form))) return;
  const body = form.enctype === "multipart/form-data" ? new FormData(form) : new URLSearchParams(new FormData(form));
  if (form.dataset.confirm) body.set("confirmed", "yes");
  form.dataset.sending = "yes";
  tell("");
  try {
    const response = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
    const fresh = await read(response);
    if (!fresh.getElementById("said")) {
      tell(fresh.querySelector("[role=alert]")?.textContent || "That did not work. Open the page again.");
      if (response.status === 401) location.reload();
      return;
    }
    freshNonce(form);
    if (form.id === "say") { form.reset(); form.elements.namedItem("text").focus(); }
    show(fresh);
    if (form.id === "say") toEnd();
  } catch {
    tell("Sayso can't be reached. Nothing was lost: try again.");
  } finally {
    delete form.dataset.sending;
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-press], [data-say-form]")) return;
  event.preventDefault();
  send(form);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.matches?.("#say textarea")) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
});

// ---------------------------------------------------------------- keys: j and k from card to card, a to its yes

function step(by) {
  const cards = [...main.querySelectorAll("article.card")];
  const at = cards.indexOf(document.activeElement?.closest("article.card"));
  const next = cards[at < 0 ? (by > 0 ? 0 : cards.length - 1) : Math.min(Math.max(at + by, 0), cards.length - 1)];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}

// It only goes to the button: a yes is never one key.
function toYes() {
  document.activeElement?.closest("article.card")?.querySelector("[id^=approve-]")?.focus();
}

const keys = { j: () => step(1), k: () => step(-1), a: toYes, "?": () => document.getElementById("keys")?.showModal() };

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog[open]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (main.querySelector("[data-keys]") && keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

for (const part of document.querySelectorAll("[data-part]")) seen.set(part, part.innerHTML);
localise(document);
if (document.getElementById("log")) toEnd();
listen();
