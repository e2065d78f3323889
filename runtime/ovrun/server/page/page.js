// The page: a picture goes to /tiles to see how it is cut up, and with a question to the API, whose answer streams in.
"use strict";

const at = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
let media = null; // {part, name}: what is sent with the question
let asking = null; // AbortController of the answer that is coming
let modelName = "default";

// ---- asking the server

function headers() {
  const key = at("key").value.trim();
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

async function send(path, body, signal) {
  const options = body ? { method: "POST", body: JSON.stringify(body), headers: headers(), signal } : { headers: headers() };
  const response = await fetch(path, options);
  if (response.ok) return response;
  if (response.status === 401) at("more").open = true;
  const told = await response.json().catch(() => null);
  throw new Error(told?.error?.message ?? `The server answered ${response.status}.`);
}

function request(extra) {
  const text = { type: "text", text: at("question").value.trim() || "Describe this image." };
  return { model: modelName, messages: [{ role: "user", content: media ? [media.part, text] : [text] }], ...extra };
}

// Server-sent events of a response, one parsed object after the other.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith("data: ") && block !== "data: [DONE]") yield JSON.parse(block.slice(6));
    }
  }
}

// ---- the question and its answer

async function ask() {
  asking?.abort();
  const mine = (asking = new AbortController());
  const began = performance.now();
  let first = 0;
  complain("");
  at("answer").textContent = at("cost").textContent = "";
  busy(true);
  try {
    const body = request({
      stream: true,
      stream_options: { include_usage: true },
      temperature: Number(at("temperature").value),
      max_tokens: Number(at("longest").value),
    });
    const response = await send("/v1/chat/completions", body, mine.signal);
    let ended = "";
    for await (const chunk of events(response)) {
      if (chunk.error) throw new Error(chunk.error.message);
      const choice = chunk.choices[0];
      if (choice?.delta?.content) {
        first ||= performance.now();
        at("answer").append(choice.delta.content);
      }
      ended = choice?.finish_reason ?? ended;
      if (chunk.usage) tellCost(chunk.usage, ended, began, first);
    }
  } catch (problem) {
    if (mine.signal.aborted) {
      if (mine === asking) at("cost").textContent = "Stopped.";
    } else complain(problem.message);
  } finally {
    if (mine === asking) busy(false);
  }
}

function busy(is) {
  at("answer").classList.toggle("busy", is);
  at("stop").hidden = !is;
  at("ask").disabled = is;
}

function complain(message) {
  at("problem").hidden = !message;
  at("problem").textContent = message;
}

function tellCost(usage, ended, began, first) {
  const seconds = (performance.now() - began) / 1000;
  const parts = [
    `${number(usage.prompt_tokens)} prompt tokens`,
    `${number(usage.completion_tokens)} in the answer`,
    ...(first ? [`first text after ${((first - began) / 1000).toFixed(2)} s`] : []),
    `${seconds.toFixed(2)} s in all`,
    ...(ended === "length" ? ["cut at the longest answer"] : []),
  ];
  at("cost").textContent = parts.join(" · ");
}

// ---- the picture, its tiles and its tokens

function readAsDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The file can't be read."));
    reader.readAsDataURL(file);
  });
}

async function take(file) {
  const isClip = file.type.startsWith("video/");
  complain("");
  try {
    const url = await readAsDataUrl(file);
    const kind = isClip ? "video_url" : "image_url";
    media = { name: file.name, part: { type: kind, [kind]: { url } } };
  } catch (problem) {
    return complain(problem.message);
  }
  show(file, isClip);
  if (isClip && at("question").value === "Describe this image.") at("question").value = "Describe this video.";
  await measure();
}

function setShape(width, height) {
  if (width && height) at("stage").style.setProperty("--shape", width / height);
}

function show(file, isClip) {
  at("blind").hidden = true;
  at("switch").hidden = isClip;
  const url = URL.createObjectURL(file);
  for (const [element, wanted] of [[at("image"), !isClip], [at("clip"), isClip]]) {
    if (element.src) URL.revokeObjectURL(element.src);
    element.hidden = !wanted;
    if (wanted) element.src = url;
    else element.removeAttribute("src");
  }
  at("drop").hidden = true;
  at("shown").hidden = false;
  at("overlay").replaceChildren();
  at("frames").toggleAttribute("hidden", true); // elements of SVG have no property for it
  at("budget").hidden = true;
  at("what").textContent = file.name;
}

async function measure() {
  const mine = media;
  try {
    const budget = await (await send("/tiles", request())).json();
    if (mine === media) draw(budget);
  } catch (problem) {
    if (mine === media) complain(problem.message);
  }
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function draw(budget) {
  const medium = budget.media[0];
  const isClip = medium.kind === "video";
  const boxes = medium.boxes ?? [];
  const rect = ([left, top, right, bottom], kind) =>
    shape("rect", { class: kind, x: left, y: top, width: right - left, height: bottom - top });
  at("overlay").replaceChildren(...boxes.map((box) => rect(box, "halo")), ...boxes.map((box) => rect(box, "tile")));
  const size = `${media.name} · ${medium.width_px} × ${medium.height_px} px`;
  at("what").textContent = isClip
    ? `${size} · ${medium.frames} frames of ${medium.tokens_per_frame} tokens`
    : `${size} · ${medium.grid.join(" × ")} tiles and the whole`;
  drawFrames(medium, isClip);
  const base = isClip ? 0 : medium.base_tokens;
  const grid = isClip ? medium.tokens : medium.grid_tokens;
  const text = budget.prompt_tokens - budget.image_tokens;
  drawBar(budget, [["base", "Whole picture", base], ["grid", isClip ? "Frames" : "Tiles", grid], ["text", "Text", text]]);
}

function drawFrames(medium, isClip) {
  at("frames").toggleAttribute("hidden", !isClip || !medium.duration_s);
  const last = medium.duration_s || 1;
  const marks = (medium.times_s ?? []).map((time) => 0.004 + 0.992 * Math.min(1, time / last));
  at("frames").replaceChildren(...marks.map((x) => shape("line", { x1: x, x2: x, y1: 0, y2: 1 })));
}

function drawBar(budget, shares) {
  const left = budget.context_tokens - budget.prompt_tokens;
  for (const [kind, , tokens] of shares) {
    at("bar").querySelector(`.${kind}`).style.width = `${(100 * tokens) / budget.context_tokens}%`;
  }
  const entry = ([kind, label, tokens]) => {
    const group = document.createElement("div");
    const [name, value] = [document.createElement("dt"), document.createElement("dd")];
    group.className = kind;
    name.textContent = label;
    value.textContent = number(tokens);
    group.append(name, value);
    return group;
  };
  const shown = shares.filter(([, , tokens]) => tokens > 0);
  at("legend").replaceChildren(...[...shown, ["left", `Left of ${number(budget.context_tokens)}`, left]].map(entry));
  at("budget").hidden = false;
}

// ---- what people do

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("stop").addEventListener("click", () => asking?.abort());
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask();
  }
});
at("file").addEventListener("change", () => at("file").files[0] && take(at("file").files[0]));
at("image").addEventListener("load", () => setShape(at("image").naturalWidth, at("image").naturalHeight));
at("clip").addEventListener("loadedmetadata", () => setShape(at("clip").videoWidth, at("clip").videoHeight));
for (const element of [at("image"), at("clip")]) {
  element.addEventListener("error", () => {
    if (element.hasAttribute("src")) at("blind").hidden = !(element.hidden = true);
  });
}
at("tiles").addEventListener("change", () => at("overlay").toggleAttribute("hidden", !at("tiles").checked));
at("key").addEventListener("change", () => introduce());
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file) take(file);
});
let depth = 0; // dragenter and dragleave come for every element on the way
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("dragenter", () => document.body.classList.toggle("over", ++depth > 0));
document.addEventListener("dragleave", () => document.body.classList.toggle("over", --depth > 0));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("over");
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});

async function introduce() {
  try {
    const models = await (await send("/v1/models")).json();
    modelName = models.data[0].id;
    at("model").textContent = modelName;
    complain("");
    if (media) measure();
  } catch (problem) {
    complain(problem.message);
  }
}
introduce();
