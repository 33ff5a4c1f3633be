// Owns the live page: asks the admin API of its own origin, and shows who talks to whom as a picture and as a table.
// Must not trust a name: every text of others goes through textContent.

const EVERY_MS = 5000;
const ROW = 18;
/** Lines of the picture at most; the table has them all. */
const MOST_LINES = 1500;
const SVG = "http://www.w3.org/2000/svg";

const at = (id) => document.getElementById(id);
const body = at("talks").tBodies[0];

/** By source and destination: what is shown, and its row. */
const rows = new Map();
let before;
let sorting = { by: "opened", down: true };
let pods = [];

async function ask(path) {
  const response = await fetch(path, { cache: "no-store" });
  const answer = await response.json();
  if (!response.ok && response.status !== 503) throw new Error(answer.reason);
  return answer;
}

// ---- what is shown ----

const nameOf = ({ namespace, workload }) =>
  workload === "-" ? "unknown" : namespace === "-" ? workload : `${namespace}/${workload}`;

/** Where both ends are of this node the source's count stands, and a denial is told once. */
function talksOf(pairs) {
  const talks = new Map();
  for (const pair of pairs) {
    const key = JSON.stringify([pair.source, pair.destination]);
    const talk = talks.get(key) ?? { key, ends: { source: [], destination: [] } };
    talk.ends[pair.reporter].push(pair);
    talks.set(key, talk);
  }
  return [...talks.values()].map(({ key, ends }) => {
    const told = ends.source.length > 0 ? ends.source : ends.destination;
    const sum = (of, count) => of.reduce((total, pair) => total + pair[count], 0);
    const denied = sum([...ends.source, ...ends.destination], "denied");
    return {
      key,
      source: nameOf(told[0].source),
      destination: nameOf(told[0].destination),
      service: [...new Set(told.map(({ service }) => service.name))].filter((name) => name !== "-").join(" "),
      opened: sum(told, "opened"),
      bytes: sum(told, "sent") + sum(told, "received"),
      failed: Math.max(0, sum(told, "failed") - denied),
      denied,
    };
  });
}

function withRates(talks, seconds) {
  for (const talk of talks) {
    const gained = talk.opened - (before?.get(talk.key)?.opened ?? talk.opened);
    talk.rate = seconds > 0 && gained > 0 ? gained / seconds : 0;
  }
  before = new Map(talks.map((talk) => [talk.key, talk]));
  return talks;
}

/** `1.5 kB`: powers of ten. */
function bytesText(count) {
  const unit = count < 1000 ? 0 : Math.min(5, Math.floor(Math.log10(count) / 3));
  return `${(count / 1000 ** unit).toFixed(unit === 0 ? 0 : 1)} ${["B", "kB", "MB", "GB", "TB", "PB"][unit]}`;
}

const CELLS = [
  ["source", (talk) => talk.source],
  ["destination", (talk) => talk.destination],
  ["service", (talk) => talk.service || "-"],
  ["rate", (talk) => talk.rate.toFixed(1)],
  ["opened", (talk) => talk.opened.toLocaleString("en")],
  ["bytes", (talk) => bytesText(talk.bytes)],
  ["failed", (talk) => talk.failed.toLocaleString("en")],
  ["denied", (talk) => talk.denied.toLocaleString("en")],
];

function rowOf(talk) {
  const row = document.createElement("tr");
  for (const [name] of CELLS) {
    const cell = row.insertCell();
    cell.className = ["source", "destination", "service"].includes(name) ? name : `number ${name}`;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Why";
  button.setAttribute("aria-label", `Why ${talk.source} to ${talk.destination}`);
  button.addEventListener("click", () => open(rows.get(talk.key).talk));
  row.insertCell().append(button);
  return row;
}

/** Only what differs is written: a thousand rows every few seconds must not be felt. */
function showTable() {
  for (const { talk, row } of rows.values()) {
    for (const [index, [, text]] of CELLS.entries()) {
      const shown = text(talk);
      if (row.cells[index].textContent !== shown) row.cells[index].textContent = shown;
    }
    if (row.className !== stateOf(talk)) row.className = stateOf(talk);
  }
  // Rows keep their places while somebody reads; who is new comes last.
  for (const { row } of rows.values()) if (!row.isConnected) body.append(row);
}

function sort() {
  const { by, down } = sorting;
  const sorted = [...rows.values()].sort(({ talk: a }, { talk: b }) => {
    const order = typeof a[by] === "number" ? a[by] - b[by] : a[by].localeCompare(b[by]);
    return (down ? -order : order) || a.key.localeCompare(b.key);
  });
  body.replaceChildren(...sorted.map(({ row }) => row));
  for (const head of document.querySelectorAll("th button")) {
    const isBy = head.dataset.by === by;
    head.parentElement.setAttribute("aria-sort", isBy ? (down ? "descending" : "ascending") : "none");
  }
}

const stateOf = ({ denied, failed }) => (denied > 0 ? "denied" : failed > 0 ? "failed" : "");

// ---- search ----

function isFound(talk) {
  const wanted = at("find").value.trim().toLowerCase();
  return `${talk.source} ${talk.destination} ${talk.service}`.toLowerCase().includes(wanted);
}

function filter() {
  let found = 0;
  for (const { talk, row } of rows.values()) {
    const isHidden = !isFound(talk);
    if (row.hidden !== isHidden) row.hidden = isHidden;
    if (!isHidden) found++;
  }
  at("found").textContent = `${found} of ${rows.size} pairs`;
  showPicture();
}

// ---- the picture ----

/** Lines that are drawn, by the key of their pair. */
let drawn = new Map();

function showPicture() {
  const talks = [...rows.values()].filter(({ row }) => !row.hidden).map(({ talk }) => talk);
  if (talks.length > MOST_LINES) talks.sort((a, b) => b.rate - a.rate || b.opened - a.opened);
  const shown = talks.slice(0, MOST_LINES);
  if (shown.length === drawn.size && shown.every(({ key }) => drawn.has(key))) {
    for (const talk of shown) dress(drawn.get(talk.key), talk);
    return;
  }
  drawn = new Map();
  const places = (side) =>
    new Map([...new Set(shown.map((talk) => talk[side]))].sort().map((name, index) => [name, index]));
  const sources = places("source");
  const destinations = places("destination");
  const height = (Math.max(sources.size, destinations.size) + 1) * ROW;
  const svg = at("picture");
  svg.setAttribute("viewBox", `0 0 1000 ${height}`);
  svg.setAttribute("height", String(height));
  const whole = document.createDocumentFragment();
  for (const talk of shown)
    whole.append(lineOf(talk, sources.get(talk.source), destinations.get(talk.destination)));
  for (const [name, index] of sources) whole.append(textOf(name, 300, index, "end"));
  for (const [name, index] of destinations) whole.append(textOf(name, 700, index, "start"));
  svg.replaceChildren(whole);
}

/** Only what differs is touched. */
function dress(path, talk) {
  for (const [name, value] of [
    ["stroke-width", String(widthOf(talk))],
    ["class", stateOf(talk)],
  ])
    if (path.getAttribute(name) !== value) path.setAttribute(name, value);
}

const widthOf = ({ rate }) => Math.min(8, 1 + Math.round(Math.log2(1 + rate)));

function lineOf(talk, from, to) {
  const path = document.createElementNS(SVG, "path");
  const [a, b] = [(from + 0.75) * ROW, (to + 0.75) * ROW];
  path.setAttribute("d", `M310 ${a} C500 ${a} 500 ${b} 690 ${b}`);
  drawn.set(talk.key, path);
  dress(path, talk);
  const title = document.createElementNS(SVG, "title");
  title.textContent = `${talk.source} to ${talk.destination}`;
  path.append(title);
  path.addEventListener("click", () => open(rows.get(talk.key).talk));
  return path;
}

function textOf(name, x, index, anchor) {
  const text = document.createElementNS(SVG, "text");
  text.setAttribute("x", String(x));
  text.setAttribute("y", String((index + 1) * ROW - 1));
  text.setAttribute("text-anchor", anchor);
  text.textContent = name;
  return text;
}

// ---- why ----

/** A pod of the workload that the daemon knows, or the workload's own name. */
const podOf = (name) => pods.find((pod) => pod === name || pod.startsWith(`${name}-`)) ?? name;

function open({ source, destination }) {
  const { from, to } = at("question").elements;
  from.value = podOf(source);
  to.value = podOf(destination);
  at("verdict").textContent = "";
  at("why").showModal();
  void showPolicies(to.value);
}

async function showPolicies(pod) {
  const list = at("policies");
  const path = pod.split("/").map(encodeURIComponent).join("/");
  const lines = await ask(`/authz/${path}`).then(
    ({ policies }) =>
      policies.length === 0
        ? ["none: everybody may connect"]
        : policies.map(({ action, name, scope }) => `${action} ${name} (${scope})`),
    (error) => [error.message],
  );
  list.replaceChildren(...lines.map(itemOf));
}

function itemOf(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

async function explain(event) {
  event.preventDefault();
  const { from, to, port } = at("question").elements;
  const query = new URLSearchParams({ from: from.value, to: `${to.value}:${port.value}` });
  const verdict = at("verdict");
  try {
    const { allowed, decidedBy, reason } = await ask(`/debug/explain/authz?${query}`);
    verdict.className = allowed ? "" : "refused";
    verdict.textContent = `${allowed ? "Allowed" : "Refused"} by ${decidedBy ?? "no policy"} (${reason})`;
  } catch (error) {
    verdict.className = "refused";
    verdict.textContent = error.message;
  }
  await showPolicies(to.value);
}

// ---- look after look ----

let last;

async function look() {
  try {
    const [status, traffic] = await Promise.all([ask("/status"), ask("/traffic")]);
    const now = Date.parse(traffic.at);
    const talks = withRates(talksOf(traffic.pairs), last === undefined ? 0 : (now - last) / 1000);
    last = now;
    show(status, talks);
  } catch (error) {
    at("state").textContent = `no answer of the daemon: ${error.message}`;
  }
  setTimeout(look, EVERY_MS);
}

function show(status, talks) {
  at("node").textContent = `on ${status.node}`;
  at("state").textContent = status.ready ? "ready" : "NOT READY";
  at("warnings").replaceChildren(...status.warnings.map(itemOf));
  pods = status.pods.map(({ namespace, name }) => `${namespace}/${name}`);
  at("pods").replaceChildren(
    ...pods.map((pod) => {
      const option = document.createElement("option");
      option.value = pod;
      return option;
    }),
  );
  const there = new Set(talks.map(({ key }) => key));
  for (const [key, { row }] of rows) {
    if (there.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  for (const talk of talks) rows.set(talk.key, { talk, row: rows.get(talk.key)?.row ?? rowOf(talk) });
  const isFirst = body.rows.length === 0;
  showTable();
  if (isFirst) sort();
  filter();
  document.body.dataset.looks = String(Number(document.body.dataset.looks ?? 0) + 1);
}

at("find").addEventListener("input", filter);
at("question").addEventListener("submit", explain);
at("close").addEventListener("click", () => at("why").close());
for (const head of document.querySelectorAll("th button")) {
  head.addEventListener("click", () => {
    const { by } = head.dataset;
    sorting = {
      by,
      down: sorting.by === by ? !sorting.down : !["source", "destination", "service"].includes(by),
    };
    sort();
  });
}
await look();
