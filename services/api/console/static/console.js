// The console's one script. Pages work without it; with it they follow what happens, send forms in place, and obey keys.
"use strict";

// ---- following: a page is fetched again when something happened, and what has `data-live` brought up to date --------

const PAUSE_MS = 120; // events come in bursts
const IDLE_MS = 60000; // "5 min ago" grows old without any event
const AGAIN_MS = 3000; // after a stream was refused
let source = null;
let busy = false;
let again = false;
let soon = 0;

const pulse = (state, words) => {
  const mark = document.getElementById("pulse");
  if (!mark || (mark.dataset.state || "") === state) return;
  if (state) mark.dataset.state = state; else delete mark.dataset.state;
  mark.textContent = words;
};
const lost = () => pulse("lost", "no connection");
const reached = () => {
  if (!document.body.dataset.stream) pulse("", "");
  else if (source?.readyState === EventSource.OPEN) pulse("live", "live");
};

const refreshSoon = () => {
  if (!soon) soon = setTimeout(() => { soon = 0; refresh(); }, PAUSE_MS);
};

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "follow" });
    if (answer.redirected && new URL(answer.url).pathname === "/console/login") { leave(); return; }
    if (answer.ok) { renew(new DOMParser().parseFromString(await answer.text(), "text/html")); reached(); }
    else if (answer.status >= 500) lost();
  } catch {
    lost();
  } finally {
    busy = false;
    if (again) { again = false; refreshSoon(); }
  }
}

// The session is over. What was typed, or is shown once, stays until its page is left.
function leave() {
  if (!isTyped(document) && !document.querySelector("[data-shown]")) { location.reload(); return; }
  pulse("lost", "logged out");
  document.getElementById("ended").hidden = false;
}

function renew(fresh) {
  const focused = document.activeElement;
  const token = fresh.querySelector("meta[name=csrf]")?.content;
  if (token) for (const each of document.querySelectorAll("input[name=csrf]")) each.value = token; // of a newer session
  document.getElementById("ended").hidden = true;
  for (const region of document.querySelectorAll("[data-live][id]")) {
    const wanted = fresh.getElementById(region.id);
    if (wanted && !region.isEqualNode(wanted)) morph(region, wanted);
  }
  document.title = fresh.title;
  growAll();
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  beat();
}

const isChanged = (field) => {
  if (field.type === "hidden") return false;
  if (field.options) return field.selectedIndex !== Math.max([...field.options].findIndex((each) => each.defaultSelected), 0);
  return field.type === "checkbox" || field.type === "radio" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
};
const isTyped = (part) => [...part.querySelectorAll("form[data-act] :is(input, textarea, select)")].some(isChanged);

const alike = (one, other) => one.nodeName === other.nodeName && (one.id || "") === (other.id || "");

// Changes only what differs, so that focus, selection, scroll, open details and what is being typed stay. A form into
// which something was typed stays also where it is offered no more: who sends it is told what is possible instead.
function morph(have, want) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.nodeValue !== want.nodeValue) have.nodeValue = want.nodeValue;
    return;
  }
  if (have.hasAttribute("data-keep")) return;
  const kept = (name) => name === "open" || name === "aria-busy";
  for (const { name } of [...have.attributes]) if (!want.hasAttribute(name) && !kept(name)) have.removeAttribute(name);
  for (const { name, value } of want.attributes) {
    if (have.getAttribute(name) !== value && !kept(name)) have.setAttribute(name, value);
  }
  const known = new Map([...have.children].filter((each) => each.id).map((each) => [each.id, each]));
  let place = have.firstChild;
  for (const next of [...want.childNodes]) {
    const fits = place && alike(place, next);
    if (!fits && !next.id) place = lift(have, place, next) || place;
    const found = next.id && known.has(next.id) ? known.get(next.id) : place && alike(place, next) ? place : null;
    if (!found) { have.insertBefore(document.importNode(next, true), place); continue; }
    if (found === place) place = place.nextSibling;
    else have.insertBefore(found, place);
    morph(found, next);
  }
  while (place) { const next = place.nextSibling; drop(place); place = next; }
}

function drop(part) {
  if (part.nodeType !== Node.ELEMENT_NODE || !isTyped(part)) part.remove();
  else if (!part.matches("form")) [...part.childNodes].forEach(drop);
}

// An element without an id is found again further on by its class: what stands before it is put behind it.
function lift(have, place, next) {
  const same = (each) => each.nodeType === Node.ELEMENT_NODE && alike(each, next) && each.className === next.className;
  let found = place;
  while (found && !same(found)) found = found.nextSibling;
  const after = found?.nextSibling;
  while (found && place !== found) { const next = place.nextSibling; have.insertBefore(place, after); place = next; }
  return found;
}

// Browsers open only six connections to a place: a page that nobody looks at holds none.
function follow() {
  const url = document.body.dataset.stream;
  if (!url || source) return;
  source = new EventSource(url);
  let missed = false;
  source.onopen = () => { pulse("live", "live"); if (missed) refreshSoon(); missed = false; };
  source.onmessage = refreshSoon;
  source.addEventListener("gap", refreshSoon);
  source.onerror = () => {
    missed = true;
    lost();
    if (source && source.readyState === EventSource.CLOSED) { source = null; setTimeout(follow, AGAIN_MS); }
  };
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { follow(); growAll(); refreshSoon(); return; }
  source?.close();
  source = null;
  for (const [list, stream] of growing) { stream.close(); growing.delete(list); }
});

let beating = 0;
function beat() {
  clearTimeout(beating);
  const wishes = [...document.querySelectorAll("[data-live][data-every]")].map((each) => Number(each.dataset.every));
  const every = Math.min(IDLE_MS, ...wishes);
  if (document.querySelector("[data-live]")) beating = setTimeout(() => { if (!document.hidden) refresh(); beat(); }, every);
}

// A list that grows: <ol id data-grows="stream url" data-from="fragment url" data-place="0" data-keep>. The stream tells
// that there is more, the fragment `from?after=place` holds it as <li data-place>.
const growing = new Map(); // its stream by the list
const seen = new WeakSet();

function grow(list) {
  if (growing.has(list) || document.hidden) return;
  const frame = list.closest("[data-scrolls]");
  if (frame && !seen.has(list)) frame.scrollTop = frame.scrollHeight;
  seen.add(list);
  const stream = new EventSource(`${list.dataset.grows}?after=${list.dataset.place}`);
  growing.set(list, stream);
  let fetching = false;
  let more = false;
  const take = async () => {
    if (fetching) { more = true; return; }
    fetching = true;
    try {
      const answer = await fetch(`${list.dataset.from}?after=${list.dataset.place}`, { headers: { accept: "text/html" } });
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelectorAll("[data-place]");
      const box = frame || document.scrollingElement;
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
      for (const each of answer.ok ? found : []) {
        if (Number(each.dataset.place) <= Number(list.dataset.place)) continue;
        list.append(document.importNode(each, true));
        list.dataset.place = each.dataset.place;
      }
      if (atEnd) box.scrollTop = box.scrollHeight;
    } finally {
      fetching = false;
      if (more) { more = false; setTimeout(take, PAUSE_MS); }
    }
  };
  stream.onmessage = take;
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED && growing.delete(list)) setTimeout(growAll, AGAIN_MS);
  };
  stream.addEventListener("end", () => { stream.close(); growing.delete(list); delete list.dataset.grows; take(); refreshSoon(); });
}

function growAll() {
  for (const [list, stream] of growing) if (!list.isConnected) { stream.close(); growing.delete(list); } // shows another one now
  for (const list of document.querySelectorAll("[data-grows]")) grow(list);
}

// ---- forms: sent in place; what is refused stands beside the button -----------------------------------------------

function tell(form, problem) {
  const place = form.querySelector(".said");
  if (!place) return;
  place.replaceChildren();
  if (!problem) return;
  const box = document.createElement("div");
  box.className = "problem";
  const title = document.createElement("strong");
  title.textContent = `${problem.title || "It did not work"}.`;
  box.append(title, ` ${problem.detail || ""}`);
  const words = (name) => name.replaceAll("_", " ");
  if (problem.status_now) box.append(` It is ${words(problem.status_now)} now.`);
  if (problem.allowed_actions?.length) box.append(` Possible now: ${problem.allowed_actions.map(words).join(", ")}.`);
  if (problem.status === 401) {
    const login = document.createElement("a");
    login.href = "/console/login";
    login.target = "_blank";
    login.textContent = "Log in again (in a new tab)";
    box.append(" ", login, " and press once more: what you typed stays.");
  }
  place.append(box);
  const flawed = problem.errors?.[0]?.field && form.elements.namedItem(problem.errors[0].field.split(".").pop());
  if (flawed instanceof HTMLElement) { flawed.setAttribute("aria-invalid", "true"); flawed.focus(); }
}

// What is shown once comes as a page, of which `data-shown` is put beside the button; it stays until the page is left.
async function reveal(form, page) {
  const shown = new DOMParser().parseFromString(page, "text/html").querySelector("[data-shown]");
  if (!shown) return;
  form.querySelector(".said").replaceChildren(document.importNode(shown, true));
  form.reset();
  form.querySelector("details")?.removeAttribute("open");
  form.querySelector("[data-shown]").focus();
  await refresh();
}

// A browser may keep a page that is left as it stands, and give it to whoever goes back.
addEventListener("pagehide", () => { for (const each of document.querySelectorAll("[data-shown]")) each.remove(); });

async function send(form, button) {
  if (form.getAttribute("aria-busy") === "true") return;
  form.setAttribute("aria-busy", "true");
  for (const each of form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
  tell(form, null);
  const name = button?.textContent.trim();
  const post = () => fetch(form.action, {
    method: "POST",
    headers: { accept: "application/json" },
    body: new URLSearchParams(new FormData(form, button)),
  });
  try {
    const token = form.elements.csrf?.value;
    let answer = await post();
    if (answer.status === 403) await refresh();
    if (answer.status === 403 && token !== form.elements.csrf?.value) answer = await post(); // logged in anew elsewhere
    if (answer.ok && answer.headers.get("content-type").startsWith("text/html")) { await reveal(form, await answer.text()); return; }
    const said = await answer.json();
    if (!answer.ok) { tell(form, said); return; }
    if (said.location) { location.assign(said.location); return; }
    form.reset();
    form.querySelector("details")?.removeAttribute("open");
    await refresh();
    document.getElementById("done").textContent = `${name}: done.`;
  } catch {
    tell(form, { title: "The service cannot be reached", detail: "Nothing is known of what came of it; look, then try again." });
  } finally {
    form.removeAttribute("aria-busy");
  }
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-act]")) return;
  event.preventDefault();
  send(event.target, event.submitter);
});

// ---- keys ----------------------------------------------------------------------------------------------------------

let going = false;

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement);
  rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (document.body.dataset.keys === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
  const key = event.key;
  if (going) {
    going = false;
    const there = [...document.querySelectorAll("[data-go]")].find((each) => each.dataset.go === key);
    if (there) { event.preventDefault(); there.click(); }
    return;
  }
  if (key === "g") going = true;
  else if (key === "j") step(1);
  else if (key === "k") step(-1);
  else if (key === "?") document.getElementById("keys")?.showModal();
  else [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.click();
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog)?.showModal();
});

follow();
beat();
growAll();
