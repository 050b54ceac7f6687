// The Talk view, and what both views share.
"use strict";
const $ = id => document.getElementById(id);
let model = null, running = null;
let messages = JSON.parse(sessionStorage.getItem("messages") || "[]"); // { role, content, figures? }

const headers = () => {
  const all = { "Content-Type": "application/json" };
  if ($("key").value) all.Authorization = "Bearer " + $("key").value;
  return all;
};

const failure = async response => {
  let text;
  try { text = (await response.json()).error.message; } catch { text = response.status + " " + response.statusText; }
  if (response.status === 401) {
    $("keyed").hidden = false;
    $("key-why").textContent = $("key").value ? "That key is not one of this server's." : "This server asks for a key.";
    text = "waiting for a key";
  }
  return text;
};

async function meet() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) throw new Error(await failure(response));
  $("keyed").hidden = true;
  model = (await response.json()).data[0];
  if ($("cache").hidden) status("good", "ready");
  $("model").textContent = model.id + " on " + model.kvcuda.device + ", context " + model.kvcuda.context + " tokens"
    + (model.kvcuda.chat ? "" : "; no chat template: one running text");
}

const reasons = { end_of_sequence: "the model ended", stop_text: "stop text", max_tokens: "as many tokens as were asked for", context_full: "the context is full: begin a new conversation" };

function turn(message) {
  const block = document.createElement("div"), text = document.createElement("div");
  block.className = "turn " + message.role;
  text.className = "text";
  text.textContent = message.content;
  block.append(text);
  $("said").append(block);
  if (message.figures) told(block, message);
  return block;
}

// How much of the prompt came from the cache, and how fast it went.
function told(block, message) {
  const k = message.figures, line = document.createElement("div"), part = text => { const span = document.createElement("span"); span.textContent = text; line.append(span); };
  line.className = "figures";
  if (k.prompt_tokens) {
    const meter = document.createElement("div");
    meter.className = "bar";
    meter.setAttribute("role", "img");
    meter.setAttribute("aria-label", k.cached_tokens + " of " + k.prompt_tokens + " prompt tokens came from the cache");
    bar(meter, [["cached", k.cached_tokens], ["active", k.prompt_tokens - k.cached_tokens]]);
    line.append(meter);
    part(k.cached_tokens + " of " + k.prompt_tokens + " prompt tokens from the cache");
    part(k.generated_tokens + " tokens, " + k.decode_tokens_per_s.toFixed(1) + " a second");
    part("first after " + k.ttft_ms.toFixed(1) + " ms");
  }
  if (k.note || reasons[k.finish_reason]) part(k.note || reasons[k.finish_reason]);
  const copy = document.createElement("button");
  copy.type = "button";
  copy.textContent = "Copy";
  copy.addEventListener("click", () => navigator.clipboard?.writeText(message.content));
  line.append(copy);
  block.append(line);
}

const keep = () => { try { sessionStorage.setItem("messages", JSON.stringify(messages)); } catch { /* it lasts as long as the page, then */ } };

async function say(text) {
  running = new AbortController();
  $("send").disabled = $("again").disabled = true;
  $("stop").disabled = false;
  const asked = { role: "user", content: text }, answer = { role: "assistant", content: "", figures: null };
  const blocks = [turn(asked), turn(answer)];
  blocks[1].scrollIntoView({ block: "end" });
  let stopped = false;
  try {
    if (!model) await meet();
    const all = [...($("system").value ? [{ role: "system", content: $("system").value }] : []), ...messages, asked].map(m => ({ role: m.role, content: m.content }));
    const body = { model: model.id, stream: true, max_tokens: Number($("most").value) || 256, temperature: Number($("temperature").value) || 0, top_p: Number($("top_p").value) || 1 };
    if ($("seed").value !== "") body.seed = Number($("seed").value);
    if (model.kvcuda.chat) body.messages = all;
    else body.prompt = all.map((m, i) => (i && m.role === "user" ? "\n" : "") + m.content).join("");
    const response = await fetch(model.kvcuda.chat ? "v1/chat/completions" : "v1/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal: running.signal });
    if (!response.ok) throw new Error(await failure(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { done, value } = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.replace(/^data: /, "");
        if (data === "[DONE]" || data.startsWith(":")) continue;
        const chunk = JSON.parse(data), choice = chunk.choices?.[0];
        if (chunk.error) throw new Error(chunk.error.message);
        if (choice) answer.content += choice.delta ? choice.delta.content || "" : choice.text;
        if (chunk.kvcuda) answer.figures = chunk.kvcuda;
      }
      const follows = innerHeight + scrollY > document.body.scrollHeight - 80;
      blocks[1].firstChild.textContent = answer.content;
      if (follows) scrollTo(0, document.body.scrollHeight);
    }
  } catch (error) {
    stopped = error.name === "AbortError";
    if (!stopped || !answer.content) {
      // A turn that failed never was: the text goes back to where it was typed.
      blocks.forEach(block => block.remove());
      if (!$("text").value) $("text").value = text;
      if (!stopped) {
        const wrong = document.createElement("p");
        wrong.className = "wrong";
        wrong.textContent = error.message;
        $("said").append(wrong);
        wrong.scrollIntoView({ block: "end" });
      }
      return finish();
    }
  }
  answer.figures ??= { note: stopped ? "stopped; what was said stays" : "" };
  messages.push(asked, answer);
  told(blocks[1], answer);
  keep();
  finish();
}

function finish() {
  running = null;
  $("send").disabled = $("again").disabled = false;
  $("stop").disabled = true;
  $("text").focus();
}

$("form").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("text").value;
  if (running || !text.trim()) return;
  $("said").querySelectorAll(".wrong").forEach(line => line.remove());
  $("text").value = "";
  say(text);
});
$("text").addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("form").requestSubmit(); }
});
$("stop").addEventListener("click", () => running && running.abort());
$("again").addEventListener("click", () => {
  if (running || messages.length < 2) return;
  const asked = messages.splice(-2)[0];
  [...$("said").children].filter(block => block.classList.contains("turn")).slice(-2).forEach(block => block.remove());
  say(asked.content);
});
$("reset").addEventListener("click", () => { if (running) running.abort(); messages = []; keep(); $("said").replaceChildren(); $("text").focus(); });
$("keyed").addEventListener("submit", event => { event.preventDefault(); meet().then(() => { unwatch(); watch(); }, error => { $("model").textContent = error.message; }); });

function show(name) {
  for (const view of ["cache", "talk"]) {
    $(view).hidden = view !== name;
    $("tab-" + view).setAttribute("aria-selected", view === name);
    $("tab-" + view).tabIndex = view === name ? 0 : -1;
  }
  history.replaceState(null, "", "#" + name);
  if (name === "cache") watch(); else { unwatch(); if (model) status("good", "ready"); }
}
for (const view of ["cache", "talk"]) {
  $("tab-" + view).addEventListener("click", () => show(view));
  $("tab-" + view).addEventListener("keydown", event => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") { const other = view === "cache" ? "talk" : "cache"; show(other); $("tab-" + other).focus(); }
  });
}
messages.forEach(turn);
meet().catch(error => { $("model").textContent = error.message; });
show(location.hash === "#talk" ? "talk" : "cache");
