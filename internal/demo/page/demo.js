// The page fetches /echo from where it came from, which is the proxy, and shows which origin answered, what it
// received, and how long that took.

// parallel is how many requests of a burst are under way at once. Browsers open no more than six connections to
// a host; beyond that the latency shown would be that of waiting for one.
const parallel = 6;

// shown is how many requests the chart has room for; kept, how many the figures are made of.
const shown = 60;
const kept = 3000;

// forwarded are the fields that the proxy sets, whatever the client sent.
const forwarded = new Set(["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-host"]);

const $ = (id) => document.getElementById(id);
const buttons = document.querySelectorAll("button");
const cards = new Map([...document.querySelectorAll("#tally li")].map((li) => [li.dataset.origin, li]));

let samples = []; // {origin, ms}, the latest last
let counts = new Map();
let failures = 0;

async function fetchOnce() {
  const started = performance.now();
  const response = await fetch("/echo", { cache: "no-store" });
  if (!response.ok) {
    throw new Error(`${response.status} ${response.statusText}`);
  }
  const received = await response.json();
  return { received, ms: performance.now() - started };
}

async function fetchMany(n) {
  setBusy(true);
  failures = 0;
  let problem = "";
  let left = n;
  const started = performance.now();
  const worker = async () => {
    while (left > 0) {
      left--;
      try {
        const { received, ms } = await fetchOnce();
        count(received.origin, ms);
        showReceived(received);
        showTally(received.origin);
      } catch (error) {
        failures++;
        problem = error.message;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallel, n) }, worker));
  say(n, performance.now() - started, problem);
  setBusy(false);
}

function count(origin, ms) {
  samples.push({ origin, ms });
  if (samples.length > kept) {
    samples.shift();
  }
  counts.set(origin, (counts.get(origin) ?? 0) + 1);
}

function say(n, ms, problem) {
  const status = $("status");
  status.classList.toggle("bad", failures > 0);
  if (failures > 0) {
    status.textContent = `${failures} of ${n} failed: ${problem}`;
  } else if (n === 1) {
    status.textContent = `answered in ${duration(ms)}`;
  } else {
    status.textContent = `${n} answers in ${duration(ms)}`;
  }
}

function setBusy(busy) {
  for (const button of buttons) {
    button.disabled = busy;
  }
}

function showReceived(received) {
  const origin = $("origin");
  origin.textContent = received.origin;
  origin.dataset.origin = received.origin;
  $("number").textContent = received.connection_request;
  $("connection").textContent = received.connection;
  $("address").textContent = received.address;
  $("line").textContent = received.request_line;
  $("fields").replaceChildren(...received.fields.map(row));
  markOurs();
}

function row(line) {
  const colon = line.indexOf(":");
  const tr = document.createElement("tr");
  const th = document.createElement("th");
  th.scope = "row";
  th.textContent = line.slice(0, colon);
  const td = document.createElement("td");
  td.textContent = line.slice(colon + 1).trim();
  tr.append(th, td);
  return tr;
}

function markOurs() {
  for (const tr of $("fields").rows) {
    tr.classList.toggle("ours", forwarded.has(tr.cells[0].textContent.toLowerCase()));
  }
}

function showTally(now) {
  const total = [...counts.values()].reduce((sum, n) => sum + n, 0);
  for (const [origin, card] of cards) {
    const n = counts.get(origin) ?? 0;
    card.classList.toggle("now", origin === now);
    card.querySelector(".count").textContent = n;
    card.querySelector(".bar span").style.width = total > 0 ? `${(100 * n) / total}%` : "0";
    const own = samples.filter((s) => s.origin === origin).map((s) => s.ms);
    card.querySelector(".note").textContent = own.length > 0 ? `median ${duration(quantile(own, 0.5))}` : "no answer yet";
  }
  showLatency();
}

function showLatency() {
  const all = samples.map((s) => s.ms);
  $("last").textContent = duration(all.at(-1));
  $("median").textContent = duration(quantile(all, 0.5));
  $("p95").textContent = duration(quantile(all, 0.95));
  $("worst").textContent = duration(quantile(all, 1));

  const latest = samples.slice(-shown);
  const most = Math.max(1, ...latest.map((s) => s.ms));
  $("chart").replaceChildren(
    ...latest.map((s, i) => {
      const height = Math.max(0.6, (20 * s.ms) / most);
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      rect.setAttribute("x", shown - latest.length + i + 0.1);
      rect.setAttribute("y", 20 - height);
      rect.setAttribute("width", 0.8);
      rect.setAttribute("height", height);
      rect.dataset.origin = s.origin;
      return rect;
    }),
  );
}

// quantile returns the smallest value that at least the share q of all values do not exceed.
function quantile(values, q) {
  if (values.length === 0) {
    return undefined;
  }
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
}

function duration(ms) {
  if (ms === undefined) {
    return "–";
  }
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

function reset() {
  samples = [];
  counts = new Map();
  $("status").textContent = "";
  $("status").classList.remove("bad");
  showTally("");
}

for (const button of document.querySelectorAll("[data-fetch]")) {
  button.addEventListener("click", () => fetchMany(Number(button.dataset.fetch)));
}
$("reset").addEventListener("click", reset);
markOurs();
setBusy(false);
