// The Cache view: what the engine is doing, once a second, while somebody looks.
const states = ["free", "active", "shared", "cached", "pinned"];
const stateWords = { free: "free", active: "active", shared: "active in several", cached: "cached", pinned: "pinned" };
const live = { model: null, cells: [], past: [], now: null, hover: null, controller: null };
const most = 180;

const bytes = n => n >= 1 << 30 ? (n / (1 << 30)).toFixed(2) + " GiB" : n >= 1 << 20 ? (n / (1 << 20)).toFixed(1) + " MiB" : n >= 1024 ? (n / 1024).toFixed(1) + " KiB" : n + " B";
const count = n => n.toLocaleString("en-US", { maximumFractionDigits: n < 10 && n % 1 ? 1 : 0 });
const seconds = s => s == null ? "-" : s < 0.001 ? (s * 1e6).toFixed(0) + " µs" : s < 1 ? (s * 1000).toFixed(s < 0.01 ? 2 : 0) + " ms" : s < 120 ? s.toFixed(1) + " s" : (s / 60).toFixed(0) + " min";
const percent = r => r == null ? "-" : (r * 100).toFixed(r < 0.1 ? 1 : 0) + " %";
const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

const element = (tag, content, kind) => {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (content instanceof Node) made.append(content); else if (content != null) made.textContent = content;
  return made;
};

// A canvas as large as it is shown, cleared.
const draw = id => {
  const canvas = $(id), scale = devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, box.width * scale);
  canvas.height = Math.max(1, box.height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  return { pen, width: box.width, height: box.height };
};

const spark = (id, series, names) => {
  const { pen, width, height } = draw(id), high = Math.max(1e-9, ...series.map(all => Math.max(...all.map((v, i) => v || 0), 0)));
  series.forEach((values, s) => {
    const x = i => width - (values.length - 1 - i) * width / (Math.max(60, values.length) - 1), y = v => height - 2 - (v || 0) / high * (height - 5);
    pen.beginPath();
    values.forEach((v, i) => i ? pen.lineTo(x(i), y(v)) : pen.moveTo(x(i), y(v)));
    pen.strokeStyle = colour(names[s]);
    pen.lineWidth = 1.6;
    pen.stroke();
    pen.lineTo(width, height);
    pen.lineTo(x(0), height);
    pen.globalAlpha = 0.12;
    pen.fillStyle = colour(names[s]);
    pen.fill();
    pen.globalAlpha = 1;
  });
};

const bar = (host, parts) => {
  const all = parts.reduce((sum, part) => sum + part[1], 0) || 1;
  while (host.children.length > parts.length) host.lastChild.remove();
  parts.forEach(([kind, value], i) => {
    const part = host.children[i] || host.appendChild(document.createElement("i"));
    part.className = kind;
    part.style.width = value / all * 100 + "%";
  });
};

function arena() {
  const { pen, width, height } = draw("arena"), cells = live.cells, n = cells.length;
  if (!n) return;
  // As square as it goes.
  let columns = 1, size = 0;
  for (let c = 1; c <= Math.min(n, 256); c++) {
    const s = Math.min(width / c, height / Math.ceil(n / c));
    if (s > size) { size = s; columns = c; }
  }
  const rows = Math.ceil(n / columns), w = width / columns, h = height / rows, gap = size > 10 ? 2 : size > 4 ? 1 : 0;
  const colours = states.map(colour), empty = colour("free"), line = colour("line");
  cells.forEach((cell, i) => {
    const x = (i % columns) * w, y = Math.floor(i / columns) * h, pages = cell.length - 1;
    if (!pages) {
      pen.strokeStyle = line;
      pen.lineWidth = 1;
      if (gap) pen.strokeRect(x + gap, y + gap, w - 2 * gap - 0.5, h - 2 * gap - 0.5); else { pen.fillStyle = empty; pen.fillRect(x, y, w, h); }
      return;
    }
    const across = Math.max(1, Math.round(Math.sqrt(pages * (w - gap) / Math.max(1, h - gap)))), down = Math.ceil(pages / across);
    const pw = (w - 2 * gap) / across, ph = (h - 2 * gap) / down, between = Math.min(pw, ph) > 4 ? 1 : 0;
    for (let p = 0; p < pages; p++) {
      pen.fillStyle = colours[cell.charCodeAt(p + 1) - 48];
      pen.fillRect(x + gap + (p % across) * pw, y + gap + Math.floor(p / across) * ph, Math.max(0.5, pw - between), Math.max(0.5, ph - between));
    }
    if (live.hover === i) { pen.strokeStyle = colour("text"); pen.lineWidth = 1.5; pen.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1); }
  });
  live.grid = { columns, w, h };
}

function slabNote() {
  const model = live.model, i = live.hover, cell = live.cells[i];
  if (!model) return;
  if (cell == null) {
    $("arena-note").textContent = model.slabs + " slabs of " + bytes(model.slab_bytes) + (model.slabs_per_cell > 1 ? ", " + model.slabs_per_cell + " in a cell" : "")
      + "; a page holds " + model.page_tokens + " tokens. Point at a slab, or use the arrow keys.";
    return;
  }
  const kind = model.kinds[cell.charCodeAt(0) - 97], tally = [0, 0, 0, 0, 0];
  for (const c of cell.slice(1)) tally[c.charCodeAt(0) - 48]++;
  $("arena-note").textContent = "Slab " + i * model.slabs_per_cell + ": " + (kind
    ? kind.layers + " layers, " + (kind.window ? "window " + kind.window : "all tokens") + ", pages of " + bytes(kind.page_bytes) + ": "
      + states.map((s, k) => tally[k] ? tally[k] + " " + stateWords[s] : "").filter(Boolean).join(", ")
    : "not cut in pages");
}

function histogram(id, quantiles, h, what) {
  const { pen, width, height } = draw(id), high = Math.max(1, ...h.counts);
  const first = h.counts.findIndex(c => c), last = h.counts.length - 1 - [...h.counts].reverse().findIndex(c => c);
  $(quantiles).replaceChildren(...["p50", "p95", "p99"].map(q => { const part = element("span", q); part.append(element("b", seconds(h[q]))); return part; }));
  $(id).setAttribute("aria-label", what + ": median " + seconds(h.p50) + ", 95th percentile " + seconds(h.p95));
  pen.fillStyle = colour("dim");
  pen.font = "11px system-ui";
  if (first < 0) { pen.fillText("nothing in the last minute", 4, height / 2); return; }
  const from = Math.max(0, first - 1), to = Math.min(h.counts.length - 1, last + 1), w = width / (to - from + 1);
  pen.textAlign = "center";
  for (let i = from; i <= to; i++) {
    const tall = h.counts[i] / high * (height - 30), x = (i - from) * w;
    pen.fillStyle = colour("active");
    pen.fillRect(x + 1, height - 16 - tall, Math.max(1, w - 2), tall);
    pen.fillStyle = colour("dim");
    if ((i - from) % Math.ceil(58 / w) === 0) pen.fillText(i < h.bounds.length ? "≤ " + seconds(h.bounds[i]) : "more", x + w / 2, height - 4);
    if (h.counts[i] && w > 26) pen.fillText(count(h.counts[i]), x + w / 2, height - 20 - tall);
  }
}

function sharingMap() {
  const model = live.model, { pen, width, height } = draw("map"), n = model.reads.length, step = width / n, base = height - 34;
  pen.font = "11px system-ui";
  pen.textAlign = "center";
  for (let layer = 0; layer < n; layer++) {
    const x = (layer + 0.5) * step, owner = model.reads[layer], own = model.bytes_per_token[layer] > 0, r = Math.max(2, Math.min(9, step / 3));
    if (owner !== layer) {
      const to = (owner + 0.5) * step, top = base - r - Math.min(base - 14, 10 + Math.abs(to - x) * 0.45);
      pen.beginPath();
      pen.moveTo(x, base - r);
      pen.bezierCurveTo(x, top, to, top, to, base - r);
      pen.strokeStyle = colour(owner > layer ? "pinned" : "shared");
      pen.lineWidth = 1.4;
      pen.stroke();
    }
    pen.beginPath();
    pen.arc(x, base, r, 0, 7);
    pen.fillStyle = colour(own ? "cached" : "free");
    pen.fill();
    pen.strokeStyle = colour(own ? "cached" : "dim");
    pen.stroke();
    pen.fillStyle = colour("dim");
    if (step > 18 || layer % Math.ceil(18 / step) === 0) pen.fillText(layer, x, base + 26);
  }
  const owners = model.bytes_per_token.filter(b => b), each = owners.reduce((a, b) => a + b, 0), standard = each / owners.length * n;
  $("sharing").textContent = model.sharing;
  $("map-note").textContent = owners.length + " of " + n + " layers keep keys and values: " + bytes(each) + " a token"
    + (owners.length < n ? "; with each layer its own it would be " + bytes(Math.round(standard)) + ", " + (standard / each).toFixed(1) + " times as much" : "") + ".";
  $("map").setAttribute("aria-label", $("map-note").textContent);
}

function tables(event) {
  $("requests").replaceChildren(...(event.requests.length ? event.requests.map(r => {
    const row = document.createElement("tr"), prompt = element("td", null, "wide"), meter = element("div", null, "bar"), done = Math.min(r.prompt, r.computed);
    bar(meter, r.state === "waiting" ? [["todo", r.prompt]] : [["cached", r.cached], ["active", Math.max(0, done - r.cached)], ["todo", Math.max(0, r.prompt - Math.max(done, r.cached))]]);
    prompt.append(meter);
    prompt.title = r.prompt + " tokens, " + r.cached + " cached";
    row.append(element("td", r.id), element("td", r.state), element("td", seconds(r.age)), prompt, element("td", count(r.generated)), element("td", bytes(r.bytes)), element("td", r.tenant || "-"));
    return row;
  }) : [emptyRow(7, "Nothing runs.")]));
  $("requests-all").textContent = event.requests_in_all > event.requests.length ? "the first " + event.requests.length : "";
  $("branches").replaceChildren(...(event.branches.length ? event.branches.map(b => {
    const row = document.createElement("tr"), text = element("td", b.text != null ? "“" + b.text.replace(/\s+/g, " ") + "”" : "of tenant " + (b.tenant || "-"), "wide");
    if (b.text != null) text.title = b.text; else text.classList.add("dim");
    row.append(text, element("td", count(b.trunk)), element("td", count(b.tokens)), element("td", count(b.ends)), element("td", count(b.hits)), element("td", b.pinned || ""));
    return row;
  }) : [emptyRow(6, "The cache is empty.")]));
}

const emptyRow = (columns, text) => { const row = document.createElement("tr"), cell = element("td", text, "dim"); cell.colSpan = columns; row.append(cell); return row; };

function figures(event) {
  const now = event.now, before = live.now, past = live.past, dt = before ? Math.max(0.2, (performance.now() - live.at) / 1000) : 1;
  const rate = name => before ? Math.max(0, (now[name] - before[name]) / dt) : 0;
  past.push({ hit: now.hit_rate_minute, out: rate("generated"), computed: rate("prompt_computed"), found: rate("found"), run: now.running, wait: now.waiting });
  if (past.length > most) past.shift();
  live.now = now;
  live.at = performance.now();
  const latest = past[past.length - 1];
  $("hit").textContent = percent(now.hit_rate_minute);
  $("hit-note").textContent = now.queried ? percent(now.found / now.queried) + " since the start, of " + count(now.queried) + " tokens" : "of looked-up prompt tokens";
  $("out").textContent = count(latest.out);
  $("out-note").textContent = count(now.generated) + " since the start";
  $("in").textContent = count(latest.computed + latest.found);
  $("run").replaceChildren(String(now.running), element("small", " of " + live.model.max_sequences));
  $("run-note").textContent = now.waiting ? now.waiting + " wait" : "nobody waits";
  $("saved").replaceChildren(count(now.found), element("small", " tokens"));
  $("saved-note").textContent = now.found ? "about " + seconds(now.saved_seconds) + " of computing prompts" : "Nothing was found in the cache yet.";
  bar($("sources"), [["active", now.found_session], ["shared", now.found_shared], ["pinned", now.found_pinned], ["host", now.found_restored]]);
  $("sources-note").textContent = [["of the same session", now.found_session], ["of others", now.found_shared], ["pinned", now.found_pinned], ["restored", now.found_restored]]
    .filter(part => part[1]).map(part => part[0] + " " + count(part[1])).join(", ");
  spark("s-hit", [past.map(p => p.hit)], ["cached"]);
  spark("s-out", [past.map(p => p.out)], ["good"]);
  spark("s-in", [past.map(p => p.found), past.map(p => p.computed)], ["cached", "active"]);
  spark("s-run", [past.map(p => p.run), past.map(p => p.wait)], ["active", "bad"]);
  bar($("memory"), [["active", now.active], ["cached", now.cached], ["pinned", now.pinned], ["free", now.free]]);
  $("arena-size").textContent = bytes(now.arena) + (now.host ? ", and " + bytes(now.host) + " on the host" : "");
  $("legend").replaceChildren(...[["active", now.active], ["shared", null], ["cached", now.cached], ["pinned", now.pinned], ["free", now.free]].map(([s, n]) => {
    const part = element("span"); part.append(element("i", null, "key " + s), stateWords[s] + (n == null ? "" : " " + bytes(n))); return part;
  }));
  $("evictions").replaceChildren(...[["room was needed", "evicted_room"], ["time was over", "evicted_expired"], ["a caller cleared them", "evicted_cleared"], ["preemptions", "preemptions"]]
    .flatMap(([word, name]) => [element("dt", word), element("dd", count(now[name])), element("dd", rate(name) ? "+" + count(rate(name)) + "/s" : "", "dim")]));
  histogram("h-first", "q-first", now.first_token, "Time to the first token");
  histogram("h-inter", "q-inter", now.inter_token, "Time between two tokens");
}

function alerts(event) {
  const words = a => a.name.replaceAll("_", " ");
  const raised = event.alerts.filter(a => a.raised), text = raised.map(a => words(a) + ": " + a.value).join("; ");
  if ($("alerts").textContent !== text) $("alerts").replaceChildren(...(text ? [element("p", text)] : []));
  $("rules").replaceChildren(...event.alerts.map(a => {
    const line = document.createElement("li");
    line.append(element("span", null, "dot " + (a.raised ? "bad" : "good")), element("b", words(a)), element("span", count(a.value) + (a.clear < a.raise ? " of " : ", at least ") + a.raise, "dim"));
    return line;
  }));
  $("advice").replaceChildren(...(event.advice.length ? event.advice.map(a => element("li", a)) : [element("li", "Nothing to change, from what was seen.", "dim")]));
  status(raised.length ? "bad" : "good", raised.length ? raised.length + " alert" + (raised.length > 1 ? "s" : "") : "live");
  document.title = (raised.length ? "! " : "") + live.model.id + " - KvCuda";
}

const status = (kind, text) => { $("dot").className = "dot " + kind; if ($("state-text").textContent !== text) $("state-text").textContent = text; };

function take(event) {
  if (event.model) { live.model = event.model; live.cells = Array(Math.ceil(event.model.slabs / event.model.slabs_per_cell)).fill("-"); live.past = []; live.now = null; }
  for (const [i, cell] of Object.entries(event.cells)) live.cells[i] = cell;
  figures(event);
  alerts(event);
  tables(event);
  arena();
  slabNote();
  if (event.model) sharingMap();
}

// Looks while the view is shown and the window is visible; otherwise nobody looks, and the engine does nothing for it.
async function watch() {
  if (live.controller || document.hidden || $("cache").hidden) return;
  const controller = live.controller = new AbortController();
  try {
    const response = await fetch("v1/kvcuda/events", { headers: headers(), signal: controller.signal });
    if (!response.ok) throw new Error(await failure(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { done, value } = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) take(JSON.parse(event.slice(6)));
    }
    status("", "the server is gone");
  } catch (error) {
    if (error.name !== "AbortError") status("bad", error.message);
  }
  if (live.controller === controller) { live.controller = null; setTimeout(watch, 3000); }
}

const unwatch = () => { const controller = live.controller; live.controller = null; controller && controller.abort(); };

document.addEventListener("visibilitychange", () => document.hidden ? unwatch() : watch());
window.addEventListener("resize", () => { if (live.model && !$("cache").hidden) { arena(); sharingMap(); } });
matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => { if (live.model) { arena(); sharingMap(); } });
$("arena").addEventListener("mousemove", event => {
  const box = $("arena").getBoundingClientRect(), g = live.grid;
  if (g) { live.hover = Math.floor((event.clientY - box.top) / g.h) * g.columns + Math.floor((event.clientX - box.left) / g.w); arena(); slabNote(); }
});
$("arena").addEventListener("mouseleave", () => { live.hover = null; arena(); slabNote(); });
$("arena").addEventListener("keydown", event => {
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -live.grid?.columns, ArrowDown: live.grid?.columns }[event.key];
  if (!by) return;
  event.preventDefault();
  live.hover = Math.max(0, Math.min(live.cells.length - 1, (live.hover ?? 0) + by));
  arena();
  slabNote();
});
