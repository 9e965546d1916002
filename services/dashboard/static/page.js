// What the page does more where JavaScript runs: it keeps itself current, counts ages up, takes keys and drops.
// Every part works without it by forms and reloading.

const main = document.getElementById("main");
const language = document.documentElement.lang;

// --- ages -----------------------------------------------------------------------------------------------------
const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });
const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function countAges() {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const passed = (Date.now() - Date.parse(element.dateTime)) / 1000;
    if (passed < 5) continue; // the server has said "just now" in the right language
    const [unit, length] = units.find(([, seconds]) => passed >= seconds);
    const text = relative.format(-Math.floor(passed / length), unit);
    if (element.textContent !== text) element.textContent = text;
  }
}
countAges();
setInterval(countAges, 5000);

// --- keeping the page current ---------------------------------------------------------------------------------
const live = main.dataset.live; // "changes": told by the server; a number: asked for every so many seconds
const state = document.getElementById("live-state");
const OFTEN_MS = 700;
const SELDOM_MS = 30000;

function fingerprint(element) {
  const copy = element.cloneNode(true);
  for (const time of copy.querySelectorAll("time[data-ago]")) time.textContent = "";
  for (const details of copy.querySelectorAll("details")) details.removeAttribute("open");
  for (const image of copy.querySelectorAll("img[data-coming]")) {
    image.setAttribute("src", image.dataset.coming);
    image.removeAttribute("data-coming");
  }
  copy.classList.remove("is-new");
  return copy.outerHTML;
}

function beingUsed(element) {
  const active = document.activeElement;
  return element.contains(active) && active.matches("input, select, textarea");
}

// The picture before stays until the new one is there: what is taken in would else be grey for a moment.
function keepPictures(before, node) {
  const old = [...before.querySelectorAll("img")];
  [...node.querySelectorAll("img")].forEach((image, index) => {
    const shown = old[index];
    if (!shown) return;
    const coming = image.getAttribute("src");
    const wanted = shown.dataset.coming ?? shown.getAttribute("src");
    image.replaceWith(shown);
    shown.alt = image.alt;
    if (coming === wanted) return;
    shown.dataset.coming = coming;
    const loading = new Image();
    loading.onload = loading.onerror = () => {
      if (shown.dataset.coming !== coming) return; // a still newer one is on its way
      shown.src = coming;
      delete shown.dataset.coming;
    };
    loading.src = coming;
  });
}

function swap(old, fresh) {
  if (fingerprint(old) === fingerprint(fresh) || beingUsed(old)) return old;
  const open = [...old.querySelectorAll("details[open][id]")].map((one) => one.id);
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  for (const id of open) fresh.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  const node = document.importNode(fresh, true);
  keepPictures(old, node);
  old.replaceWith(node);
  if (focused) node.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  return node;
}

// A list keeps the nodes that did not change, so that photos don't flicker and focus stays.
function swapList(old, fresh) {
  const kept = new Map([...old.children].map((node) => [node.dataset.key, node]));
  const nodes = [...fresh.children].map((node) => {
    const before = kept.get(node.dataset.key) ?? document.querySelector(`[data-key="${CSS.escape(node.dataset.key)}"]`);
    if (before && fingerprint(before) === fingerprint(node)) return before;
    const changed = document.importNode(node, true);
    if (before?.querySelector(".occupancy")?.textContent !== node.querySelector(".occupancy")?.textContent) changed.classList.add("is-new");
    if (before) keepPictures(before, changed);
    return changed;
  });
  const same = nodes.length === old.children.length && nodes.every((node, index) => node === old.children[index]);
  if (same) return;
  const focused = document.activeElement?.closest("[data-key]")?.dataset.key;
  old.replaceChildren(...nodes);
  if (focused && !document.activeElement?.closest("[data-key]")) {
    old.querySelector(`[data-key="${CSS.escape(focused)}"] a`)?.focus({ preventScroll: true });
  }
}

function take(fresh) {
  const there = main.querySelectorAll("[data-key]:not([data-list] *)");
  const coming = fresh.querySelectorAll("main [data-key]:not([data-list] *)");
  const keys = (nodes) => [...nodes].map((node) => node.dataset.key).join();
  const outage = (root) => [...root.querySelectorAll("main > .notice-bad")].map((node) => node.textContent).join();
  if (keys(there) !== keys(coming) || outage(document) !== outage(fresh)) {
    if (beingUsed(main)) return;
    // Another layout (the first space, an outage): all of it, except what says that something was just done.
    main.replaceChildren(...[...fresh.getElementById("main").childNodes].map((node) => document.importNode(node, true)));
    return;
  }
  coming.forEach((node, index) => {
    const lists = node.querySelectorAll("[data-list]");
    const oldLists = there[index].querySelectorAll("[data-list]");
    if (lists.length && lists.length === oldLists.length) {
      lists.forEach((list, number) => swapList(oldLists[number], list));
      const heading = there[index].querySelector("h2");
      if (heading) heading.innerHTML = node.querySelector("h2").innerHTML; // ours, escaped by the server
    } else {
      swap(there[index], node);
    }
  });
}

let announced = main.querySelector("[data-change]")?.dataset.change;

function announce() {
  const newest = main.querySelector("[data-change]");
  if (newest && newest.dataset.change !== announced) {
    announced = newest.dataset.change;
    document.getElementById("announce").textContent = newest.querySelector("span").textContent;
  }
}

function tell(what) {
  if (!state) return;
  state.hidden = what === null;
  for (const part of state.querySelectorAll("[data-when]")) part.hidden = part.dataset.when !== what;
}

let running = false;
let again = false;
let ended = false;

async function refresh() {
  if (ended) return;
  if (running) {
    again = true;
    return;
  }
  running = true;
  again = false;
  try {
    const answer = await fetch(main.dataset.liveAddress ?? location.href, {
      headers: { Accept: "text/html", "X-Huella-Refresh": "1" },
      cache: "no-store",
    });
    if (answer.status === 401) {
      ended = true;
      tell("ended");
    } else if (answer.headers.get("content-type")?.startsWith("text/html") && answer.status !== 500) {
      take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      countAges();
      announce();
    }
  } catch {
    tell("cut"); // the network; the next round says otherwise
    running = false;
    return;
  }
  if (!ended && (live !== "changes" || connected)) tell(null);
  setTimeout(() => {
    running = false;
    if (again) refresh();
  }, OFTEN_MS);
}

let connected = false;

function listen() {
  const stream = new EventSource("/events");
  stream.addEventListener("open", () => {
    connected = true;
    refresh(); // whatever changed while nobody was told
  });
  for (const name of ["change", "down", "up"]) stream.addEventListener(name, refresh);
  stream.addEventListener("ended", () => {
    ended = true;
    stream.close();
    tell("ended");
  });
  stream.addEventListener("error", () => {
    connected = false;
    if (!ended) tell("cut");
    // A refusal (too many pages, an ended log-in) is final for an EventSource: look seldom, and try anew.
    if (stream.readyState === EventSource.CLOSED && !ended) {
      refresh();
      setTimeout(listen, SELDOM_MS);
    }
  });
  addEventListener("pagehide", () => stream.close(), { once: true });
}

if (live === "changes") {
  listen();
  setInterval(() => document.hidden || refresh(), SELDOM_MS);
} else if (live) {
  setInterval(() => document.hidden || refresh(), Number(live) * 1000);
}
addEventListener("pageshow", (event) => event.persisted && location.reload());

// --- keys -----------------------------------------------------------------------------------------------------
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("input, select, textarea")) return;
  document.querySelector(`[data-shortcut="${CSS.escape(event.key.toLowerCase())}"]`)?.click();
});

// --- the account's panel closes as a menu does ------------------------------------------------------------------
const account = document.getElementById("account");
addEventListener("click", (event) => account.contains(event.target) || account.removeAttribute("open"));
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && account.open) {
    account.open = false;
    account.querySelector("summary").focus();
  }
});

// --- copying --------------------------------------------------------------------------------------------------
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break; // without TLS browsers have none; the text can be selected
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.querySelector("[data-copied]").hidden = false;
    button.querySelector("span:not([data-copied])").hidden = true;
  });
}

// --- dropping a picture ---------------------------------------------------------------------------------------
const drop = document.querySelector("[data-drop]");
if (drop) {
  const input = drop.querySelector("input[type=file]");
  const send = () => {
    drop.querySelector("[data-busy]").hidden = false;
    drop.requestSubmit();
  };
  input.addEventListener("change", () => input.files.length && send());
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("is-over");
    });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("is-over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("is-over");
    if (event.dataTransfer.files.length) {
      input.files = event.dataTransfer.files;
      if (!input.required || input.files.length) send();
    }
  });
}
