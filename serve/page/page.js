// The page's own state: documents in the order they were added, and one call at a time.
// With #demo=WORDS behind the address it draws pictures and ranks them for those words.

import { drawings } from "./draw.js";
import { card, reorder, showFailure, showFigures, showKept, showRank } from "./results.js";

const at = (id) => document.getElementById(id);
const items = [];

function say(words, isBad = false) {
  at("status").textContent = words;
  at("status").classList.toggle("bad", isBad);
}

function count() {
  at("count").textContent = items.length ? `${items.length}` : "none yet";
}

function add(item) {
  item.card = card(item, () => {
    items.splice(items.indexOf(item), 1);
    item.card.remove();
    count();
  });
  items.push(item);
  at("results").append(item.card);
  count();
}

function addFiles(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) {
      say(`${file.name} is no picture`, true);
      continue;
    }
    const reader = new FileReader();
    reader.onload = () => add({ name: file.name || "pasted", url: reader.result });
    reader.readAsDataURL(file);
  }
}

function headers() {
  const token = at("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function call(path, body) {
  const request = body === undefined ? { headers: headers() } : {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers() },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, request);
  const answer = await response.json();
  if (response.status === 401) {
    at("token-row").hidden = false;
    at("token").focus();
  }
  if (!response.ok) throw Object.assign(new Error(answer.message), { failed: answer.failed || [] });
  return answer;
}

function show(asked, answer) {
  const shade = at("shade").checked;
  answer.results.forEach((result, rank) => showRank(asked[result.index], rank + 1, result, shade));
  showFailures(asked, answer.failed);
  const order = [...answer.results, ...answer.failed].map((entry) => asked[entry.index]);
  reorder(at("results"), order.filter((item) => items.includes(item)));
}

function showFailures(asked, failed) {
  for (const entry of failed) showFailure(asked[entry.index], entry.error);
}

async function rank() {
  if (!items.length) return say("Add some documents first.", true);
  const asked = [...items];
  const documents = asked.map((item) => (item.url ? { image: item.url } : { text: item.text }));
  at("rank").disabled = true;
  say(`ranking ${asked.length}…`);
  const start = performance.now();
  try {
    const body = { query: at("query").value, documents, return_documents: false, return_kept: true };
    const answer = await call("/v1/rerank", body);
    show(asked, answer);
    showFigures(answer, (performance.now() - start) / 1e3);
    say(`ranked ${answer.results.length} of ${asked.length}`);
  } catch (error) {
    showFailures(asked, error.failed || []);
    say(error.message || "the server does not answer", true);
  } finally {
    at("rank").disabled = false;
  }
}

function listen() {
  at("ask").addEventListener("submit", (event) => { event.preventDefault(); rank(); });
  at("files").addEventListener("change", (event) => addFiles(event.target.files));
  at("drawn").addEventListener("click", () => drawings().forEach(add));
  at("clear").addEventListener("click", () => { items.splice(0); at("results").replaceChildren(); count(); });
  at("add-text").addEventListener("click", addText);
  at("text").addEventListener("keydown", (event) => { if (event.key === "Enter") addText(); });
  at("shade").addEventListener("change", () => items.forEach((item) => showKept(item, at("shade").checked)));
  at("token").addEventListener("change", describe);
  document.addEventListener("paste", (event) => addFiles(event.clipboardData.files));
  document.addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
  document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    at("drop").classList.remove("over");
    addFiles(event.dataTransfer.files);
  });
}

function addText() {
  const text = at("text").value.trim();
  if (text) add({ name: `text ${items.length + 1}`, text });
  at("text").value = "";
}

async function describe() {
  try {
    const info = await call("/info");
    at("model").textContent = `${info.model}, profile ${info.profile}, ${info.device}, ${info.dtype}`
      + (info.ready ? "" : ", not ready yet");
    at("token-row").hidden = true;
  } catch (error) {
    at("model").textContent = error.message;
  }
}

async function begin() {
  listen();
  count();
  await describe();
  const demo = new URLSearchParams(location.hash.slice(1)).get("demo");
  if (demo) {
    at("query").value = demo;
    drawings().forEach(add);
    await rank();
  }
}

begin();
