// The page of `sayso up --sim`: draws what the stand-ins hold and sends one person's verbs. Nothing here knows Sayso.
// All text comes from messages, so it is only ever set as text, never as HTML.
"use strict";

const LOOK_EVERY_MS = 600;
const END_PX = 60;
const CHATS = ["slack", "telegram", "sms"];
let who = location.hash.slice(1); // or else the first person, see draw()
let tab = "messages";
let replying = null;
let shown = {};
let app = "";
let people = [];
const entered = new Set();

function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made[key] = value;
    else if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

const standing = (message) => ({ "data-key": message.ref, tabindex: -1, class: `message ${message.mine ? "mine" : ""}` });

async function ask(verb, body) {
  let error = "";
  try {
    const answer = await fetch(`/sim/${verb}`, { method: "POST", headers: { "X-Sim": "page" }, body: JSON.stringify(body) });
    if (!answer.ok) error = (await answer.json()).error;
  } catch {
    error = "That was not sent.";
  }
  put("trouble", error);
  await look();
  return !error;
}

// ---------------------------------------------------------------- Slack's blocks

const MARKS = /<(https?:[^|>]+)\|([^>]+)>|<(https?:[^>]+)>|<!date\^(\d+)\^([^|^]*)[^|]*\|[^>]*>|```([\s\S]+?)```|`([^`\n]+)`|\*([^*\n]+)\*/g;
const plain = (text) => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

const dated = (at, text) => text.replaceAll(/\{date[a-z_]*\}/g, at.toLocaleDateString()).replaceAll(/\{time[a-z_]*\}/g, at.toLocaleTimeString([], { timeStyle: "short" }));

function words(text) {
  if (!text) return document.createTextNode("");
  if (text.type !== "mrkdwn") return document.createTextNode(text.text ?? "");
  const made = document.createDocumentFragment();
  let at = 0;
  for (const found of text.text.matchAll(MARKS)) {
    made.append(plain(text.text.slice(at, found.index)));
    const [all, url, label, bare, seconds, date, block, code, bold] = found;
    if (url || bare) made.append(el("span", { title: url ?? bare }, plain(label ?? bare)));
    else if (seconds) made.append(dated(new Date(seconds * 1000), date));
    else if (block) made.append(el("pre", {}, plain(block)));
    else made.append(el(code ? "code" : "b", {}, plain(code ?? bold)));
    at = found.index + all.length;
  }
  made.append(plain(text.text.slice(at)));
  return made;
}

function rich(element) {
  if (element.type === "text" || element.type === "link") {
    const text = element.text ?? element.url;
    return element.style?.bold ? el("b", {}, text) : element.style?.code ? el("code", {}, text) : document.createTextNode(text);
  }
  if (element.type === "date") return document.createTextNode(element.fallback ?? "");
  if (element.type === "emoji") return document.createTextNode(`:${element.name}:`);
  const inside = (element.elements ?? []).map(rich);
  if (element.type === "rich_text_preformatted") return el("pre", {}, ...inside);
  if (element.type === "rich_text_list") return el("ul", {}, ...inside.map((one) => el("li", {}, one)));
  return el("div", {}, ...inside);
}

// What leads into the web chat opens there, what leads to a message goes to it; of all else the address is only shown.
function link(one) {
  const label = one.text.text ?? one.text, [, ...ts] = /\/archives\/\w+\/p(\d+)(\d{6})$/.exec(one.url) ?? [];
  if (ts.length) return el("button", { "data-key": one.url, type: "button", onclick: () => goTo(ts.join(".")) }, label);
  const isOurs = one.url === app || one.url.startsWith(`${app}/`);
  return el(isOurs ? "a" : "span", isOurs ? { class: "link", href: one.url, target: "_blank", rel: "noopener" } : { class: "link", title: one.url }, `${label} ↗`);
}

function pressable(message, element) {
  const press = async ({ text: { text: label }, value }, confirm) => {
    const question = confirm && `${confirm.title?.text ?? ""}\n${confirm.text?.text ?? ""}`;
    if (!question || window.confirm(question)) await ask("press", { who, chat: "slack", ref: message.ref, button: label, value });
  };
  const button = (one, confirm) =>
    el("button", { "data-key": `${one.text.text} ${one.value}`, class: one.style ?? "", type: "button", onclick: () => press(one, confirm) }, one.text.text);
  if (element.url) return link(element);
  if (element.type === "button") return button(element, element.confirm);
  if (element.type === "overflow")
    return el("details", { "data-key": "More" }, el("summary", {}, "More"), el("div", { class: "buttons" }, ...element.options.map((one) => button(one, element.confirm))));
  return null;
}

function block(message, one) {
  switch (one.type) {
    case "header": return el("h3", { style: "margin:.2rem 0;font-size:1rem" }, one.text.text);
    case "divider": return el("hr");
    case "context": return el("div", { class: "context" }, ...one.elements.map((part) => el("div", {}, words(part))));
    case "actions": return el("div", { class: "buttons" }, ...one.elements.map((part) => pressable(message, part)));
    case "rich_text": return el("div", {}, ...one.elements.map(rich));
    case "markdown": return el("div", { style: "white-space:pre-wrap" }, one.text);
    case "container": return el("details", { "data-key": one.title?.text ?? "Details", open: !one.is_collapsible || !one.default_collapsed },
      el("summary", {}, one.title ? words(one.title) : "Details"), ...(one.child_blocks ?? []).map((child) => block(message, child)));
    case "plan": return el("div", {}, el("b", {}, one.title?.text ?? one.title ?? ""), ...(one.tasks ?? []).map((task) => block(message, task)));
    case "task_card": return el("div", {}, `${one.status === "complete" ? "✓" : one.status === "error" ? "✕" : "…"} ${one.title?.text ?? one.title ?? ""}`,
      ...[one.details, one.output].filter(Boolean).map((part) => el("div", { class: "context" }, block(message, part))));
    case "section": return el("div", {}, el("div", { style: "white-space:pre-wrap" }, words(one.text)),
      ...(one.fields ?? []).map((field) => el("div", { class: "context" }, words(field))),
      one.accessory ? pressable(message, one.accessory) : null);
    default: return el("div", { class: "context" }, one.text ? words(one.text) : "");
  }
}

function slack(message) {
  const note = message.private ? " · only you can see this" : message.edits ? " · edited" : "";
  const body = message.blocks.length ? message.blocks.map((one) => block(message, one)) : [message.text];
  return el("article", standing(message), el("div", { class: "from" }, (message.mine ? "You" : "Sayso") + note), ...body);
}

function home(blocks) {
  if (!blocks) return [el("p", { class: "context" }, "The app fills this in when you open it …")];
  return blocks.map((one) => block({ ref: "home" }, one));
}

function form(view) {
  const inputs = (view.blocks ?? []).filter((one) => one.type === "input").map((one) => {
    const element = one.element, name = one.block_id;
    const hint = one.hint ? el("span", { class: "context" }, one.hint.text) : null;
    const options = element.type === "users_select" ? people.filter((each) => each.key !== who).map((each) => [each.slack_id, each.name]) : element.options?.map((each) => [each.value, each.text.text]);
    if (options)
      return el("label", {}, one.label.text, el("select", { name, "data-key": name }, ...options.map(([value, label]) =>
        el("option", { value, selected: value === element.initial_option?.value }, label))), hint);
    const field = el(element.multiline ? "textarea" : "input", { name, "data-key": name });
    field.defaultValue = element.initial_value ?? "";
    return el("label", {}, one.label.text, field, hint);
  });
  const others = (view.blocks ?? []).filter((one) => one.type !== "input").map((one) => block({}, one));
  const submit = async (event) => {
    event.preventDefault();
    await ask("submit", { who, view: view.id, values: Object.fromEntries(new FormData(event.target)) });
  };
  const close = () => ask("close", { who, view: view.id });
  return el("form", { "data-key": view.id, class: "form", onsubmit: submit, onkeydown: (event) => { if (event.key === "Escape") close(); } }, el("b", {}, view.title?.text ?? ""), ...others, ...inputs,
    el("div", { class: "buttons" }, view.submit ? el("button", { class: "primary" }, view.submit.text) : null,
      el("button", { type: "button", onclick: close }, view.close?.text ?? "Close")));
}

// ---------------------------------------------------------------- Telegram and the phone

const TAGS = { bold: "b", italic: "i", code: "code", pre: "pre", underline: "u", strikethrough: "s", blockquote: "blockquote", expandable_blockquote: "blockquote" };

function marked(text, entities) {
  // Offsets count UTF-16 units, as JavaScript's strings do. What lies inside another mark keeps the outer one.
  const made = document.createDocumentFragment();
  let at = 0;
  for (const one of [...entities].sort((a, b) => a.offset - b.offset || b.length - a.length)) {
    if (one.offset < at) continue;
    made.append(text.slice(at, one.offset), el(TAGS[one.type] ?? "span", {}, text.slice(one.offset, one.offset + one.length)));
    at = one.offset + one.length;
  }
  made.append(text.slice(at));
  return made;
}

function telegram(message) {
  const press = (label) => ask("press", { who, chat: "telegram", ref: message.ref, button: label });
  return el("article", standing(message),
    el("div", { style: "white-space:pre-wrap" }, marked(message.text, message.entities)),
    message.reaction ? el("span", { "aria-label": "reaction" }, message.reaction) : null,
    ...message.rows.map((row) => el("div", { class: "buttons" }, ...row.map((one) => one.url
      ? link(one)
      : el("button", { type: "button", "data-key": one.text, disabled: !one.can_press, onclick: () => press(one.text) }, one.text)))),
    message.edits && !message.mine ? el("div", { class: "from" }, "edited") : null);
}

const draft = (text) => el("article", { "data-key": "draft", class: "message draft" }, el("div", { class: "from" }, "Sayso is writing"),
  el("div", { style: "white-space:pre-wrap" }, text),
  el("div", { class: "buttons" }, el("button", { type: "button", onclick: () => ask("stop", { who }) }, "Stop")));

const sms = (message) => el("article", { class: `message ${message.mine ? "" : "mine"}`, style: "white-space:pre-wrap" }, message.text);

// ---------------------------------------------------------------- drawing

const HANDLERS = ["onclick", "onsubmit", "onkeydown"];
const identity = (node) => node.dataset?.key ?? `${node.nodeName}.${node.className ?? ""}`;

// Makes `place` read like `wanted` by touching only what differs. An element is the same one by its key, or else as the next
// of its kind, and what a person has done to it stays: focus and caret, typed words, opened details, a selection.
function renew(place, wanted) {
  const left = [...place.childNodes];
  const pairs = [...wanted.childNodes].map((next) => {
    const at = left.findIndex((had) => identity(had) === identity(next));
    return [at < 0 ? null : left.splice(at, 1)[0], next];
  });
  for (const gone of left) {
    if (gone.contains(document.activeElement)) place.closest("[tabindex]")?.focus({ preventScroll: true });
    gone.remove();
  }
  let at = place.firstChild;
  for (const [had, next] of pairs) {
    if (had === at && had) at = at.nextSibling;
    else place.insertBefore(had ?? next, at);
    if (had) update(had, next);
  }
}

function update(had, next) {
  if (had.nodeType === Node.TEXT_NODE) {
    if (had.data !== next.data) had.data = next.data;
    return;
  }
  for (const name of new Set([...had.getAttributeNames(), ...next.getAttributeNames()])) {
    if (name === "open" || had.getAttribute(name) === next.getAttribute(name)) continue;
    if (next.hasAttribute(name)) had.setAttribute(name, next.getAttribute(name));
    else had.removeAttribute(name);
  }
  for (const name of HANDLERS) had[name] = next[name];
  renew(had, next);
}

const put = (id, ...parts) => renew(document.getElementById(id), el("div", {}, ...parts));

function redraw(chat, parts, stamp) {
  if (shown[chat] === stamp) return;
  const log = document.querySelector(`#${chat} .log`);
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < END_PX || !shown[chat];
  if (!shown[chat]) log.replaceChildren();
  shown[chat] = stamp;
  renew(log, el("div", {}, ...parts()));
  if (isAtEnd) log.scrollTop = tab === "home" && chat === "slack" ? 0 : log.scrollHeight;
}

// As a client does that opens a form: the first field takes the focus, once.
function enter(view) {
  const field = document.querySelector(`[data-key="${view.id}"] :is(input, textarea, select)`);
  if (!field || entered.has(view.id)) return;
  entered.add(view.id);
  field.focus();
}

function draw(state) {
  const person = state.people.find((one) => one.key === who) ?? state.people[0];
  who = person.key;
  ({ app, people } = state);
  const stamp = (...parts) => JSON.stringify([who, ...parts]);
  const forms = () => person.views.map(form);
  if (tab === "home") redraw("slack", () => [...home(person.home), ...forms()], stamp(tab, person.home, person.views));
  else redraw("slack", () => [...person.slack.map(slack), ...forms()], stamp(person.slack, person.views));
  person.views.forEach(enter);
  for (const button of document.querySelectorAll("#slack nav button")) button.setAttribute("aria-pressed", String(button.dataset.tab === tab));
  // As a client does that is told to open its reply field: what is typed answers the newest question.
  const asked = person.telegram.filter((one) => !one.mine).at(-1);
  replying = asked?.asks && !person.telegram.slice(person.telegram.indexOf(asked) + 1).some((one) => one.mine) ? asked.ref : null;
  put("replying", replying ? `Your message answers: ${asked.text.split("\n")[0]}` : "");
  redraw("telegram", () => [...person.telegram.map(telegram), ...(person.draft ? [draft(person.draft)] : []), ...person.told.slice(-1).map((one) =>
    el("p", { "data-key": `told ${one.ref}`, class: "told", role: "status" }, one.text))], stamp(person.telegram, person.draft, person.told));
  redraw("sms", () => person.sms.map(sms), stamp(person.sms));
  const become = (key) => { who = key; shown = {}; history.replaceState(null, "", `#${key}`); draw(state); if (tab === "home") ask("home", { who }); };
  put("people", ...people.map((one) => el("button", { "data-key": one.key, "aria-pressed": String(one.key === who), onclick: () => become(one.key) }, one.name)));
  const model = state.real_model ? "A real model plans plain words." : "No key is set: a stand-in follows a few rules for plain words, and says so.";
  put("about", `${person.name}, ${person.about}. ${model} The web chat is at `, el("a", { href: app, target: "_blank", rel: "noopener" }, app));
  put("now", new Date(state.now * 1000).toLocaleTimeString());
  put("planned", state.planned.length ? `planned: ${state.planned.join(", ")}` : "");
  for (const [id, choices] of [["leg", state.legs], ["kind", state.kinds]])
    put(id, ...Object.entries(choices).map(([key, label]) => el("option", { value: key }, label)));
  put("journal", ...state.journal.toReversed().map((one) => el("tr", { "data-key": one.n },
    el("td", {}, new Date(one.at * 1000).toLocaleTimeString()), el("td", {}, one.out ? `${one.vendor} → Sayso` : `Sayso → ${one.vendor}`),
    el("td", {}, one.method), el("td", {}, `${one.status || "–"} ${one.note}`), el("td", {}, one.body))));
}

async function openTab(name) {
  tab = name;
  document.querySelector("#slack form.say").hidden = tab === "home";
  delete shown.slack;
  document.querySelector("#slack .log").replaceChildren(); // what the other tab showed can no longer be pressed
  await (tab === "home" ? ask("home", { who }) : look());
}

async function goTo(ts) {
  await openTab("messages");
  document.querySelector(`#slack [data-key="${ts}"]`)?.focus();
}

async function look() {
  try {
    draw(await (await fetch("/sim/state")).json());
    put("away", "");
  } catch (error) {
    put("away", `The simulated chats do not answer: ${error.message}`);
  }
}

for (const chat of CHATS)
  document.querySelector(`#${chat} form.say`).addEventListener("submit", async (event) => {
    event.preventDefault();
    const input = event.target.querySelector("input"), text = input.value;
    if (!text.trim()) return;
    input.value = ""; // at once, so that nothing is sent twice and the next words can be typed meanwhile
    const said = { who, chat, text };
    if (chat === "telegram" && replying) said.reply_to = replying;
    const verb = event.submitter?.value === "voice" ? "voice" : "say";
    if (!(await ask(verb, said)) && !input.value) input.value = text;
  });
for (const button of document.querySelectorAll("#slack nav button"))
  button.addEventListener("click", () => openTab(button.dataset.tab));
for (const button of document.querySelectorAll("#clock button"))
  button.addEventListener("click", () => ask("clock", { seconds: Number(button.dataset.seconds) }));
document.getElementById("plan").addEventListener("click", () =>
  ask("fault", { leg: document.getElementById("leg").value, kind: document.getElementById("kind").value }));

look();
setInterval(look, LOOK_EVERY_MS);
