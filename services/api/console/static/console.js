// The console's one script. Pages work without it; with it they follow what happens, send forms in place, and obey keys.
"use strict";

// ---- following: a page is fetched again when something happened, and what has `data-live` brought up to date --------

const PAUSE_MS = 120; // events come in bursts
const IDLE_MS = 60000; // "5 min ago" grows old without any event
let source = null;
let busy = false;
let again = false;
let soon = 0;

const pulse = (state, words) => {
  const mark = document.getElementById("pulse");
  if (mark && mark.dataset.state !== state) {
    mark.dataset.state = state;
    mark.textContent = words;
  }
};

const refreshSoon = () => {
  if (!soon) soon = setTimeout(() => { soon = 0; refresh(); }, PAUSE_MS);
};

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "follow" });
    if (answer.redirected && new URL(answer.url).pathname === "/console/login") { location.reload(); return; }
    if (answer.ok) renew(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    pulse("lost", "no connection");
  } finally {
    busy = false;
    if (again) { again = false; refreshSoon(); }
  }
}

function renew(fresh) {
  const focused = document.activeElement;
  for (const region of document.querySelectorAll("[data-live][id]")) {
    const wanted = fresh.getElementById(region.id);
    if (wanted && !region.isEqualNode(wanted)) morph(region, wanted);
  }
  document.title = fresh.title;
  growAll();
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  beat();
}

// Changes only what differs, so that focus, selection, scroll, open details and what is being typed stay.
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
    const fits = place && place.nodeName === next.nodeName && (place.id || "") === (next.id || "");
    const found = next.id && known.has(next.id) ? known.get(next.id) : fits ? place : null;
    if (!found) { have.insertBefore(document.importNode(next, true), place); continue; }
    if (found === place) place = place.nextSibling;
    else have.insertBefore(found, place);
    morph(found, next);
  }
  while (place) { const next = place.nextSibling; place.remove(); place = next; }
}

// Browsers open only six connections to a place: a page that nobody looks at holds none.
function follow() {
  const url = document.body.dataset.stream;
  if (!url || source) return;
  source = new EventSource(url);
  let lost = false;
  source.onopen = () => { pulse("live", "live"); if (lost) refreshSoon(); lost = false; };
  source.onmessage = refreshSoon;
  source.addEventListener("gap", refreshSoon);
  source.onerror = () => {
    lost = true;
    pulse("lost", "no connection");
    if (source && source.readyState === EventSource.CLOSED) { source = null; setTimeout(follow, 3000); }
  };
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) { source?.close(); source = null; } else { follow(); refreshSoon(); }
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
const growing = new WeakSet();

function grow(list) {
  if (growing.has(list)) return;
  growing.add(list);
  const frame = list.closest("[data-scrolls]");
  if (frame) frame.scrollTop = frame.scrollHeight;
  const stream = new EventSource(list.dataset.grows);
  let fetching = false;
  let more = false;
  const take = async () => {
    if (!list.isConnected) { stream.close(); return; } // its page shows another one now
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
  stream.addEventListener("end", () => { stream.close(); take(); refreshSoon(); });
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
    login.href = `/console/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    login.textContent = "Log in";
    box.append(" ", login);
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
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { accept: "application/json" },
      body: new URLSearchParams(new FormData(form, button)),
    });
    if (answer.ok && answer.headers.get("content-type").startsWith("text/html")) { await reveal(form, await answer.text()); return; }
    const said = await answer.json();
    if (!answer.ok) { tell(form, said); return; }
    if (said.location) { location.assign(said.location); return; }
    form.reset();
    form.querySelector("details")?.removeAttribute("open");
    await refresh();
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

function growAll() {
  for (const list of document.querySelectorAll("[data-grows]")) grow(list);
}

follow();
beat();
growAll();
