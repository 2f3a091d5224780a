// Cards of documents, and the figures of one answer. Text only ever becomes text nodes.

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function card(item, remove) {
  const view = element("div", { className: "view" });
  const words = (text) => element("blockquote", {}, text);
  const onerror = () => view.replaceChildren(words("This browser cannot show it."));
  view.append(item.url
    ? element("img", { src: item.url, alt: item.name, onerror })
    : words(item.text));
  const button = element("button", { type: "button", className: "remove", onclick: remove }, "×");
  button.setAttribute("aria-label", `remove ${item.name}`);
  const facts = element("dl", {}, element("dd", { className: "name" }, item.name));
  return element("li", { className: "card" }, view, facts, button);
}

export function showRank(item, rank, result, shade) {
  const probability = result.relevance_score;
  const meter = element("dd", { className: "meter" }, element("i"));
  meter.firstChild.style.width = `${(100 * probability).toFixed(1)}%`;
  facts(item).replaceChildren(
    element("dt", {}, `${rank}. ${(100 * probability).toFixed(1)} %`),
    element("dd", { title: "raw score: the logit difference" }, result.raw_score.toFixed(3)),
    meter,
    element("dd", { className: "name" }, item.name),
  );
  item.kept = (result.kept || [])[0];
  showKept(item, shade);
}

export function showFailure(item, words) {
  facts(item).replaceChildren(
    element("dd", { className: "name" }, item.name), element("dd", { className: "bad" }, words));
  item.kept = undefined;
  showKept(item, false);
}

// One canvas pixel a visual token; CSS stretches it over the picture.
export function showKept(item, wanted) {
  const view = item.card.querySelector(".view");
  view.querySelector("canvas")?.remove();
  if (!wanted || !item.kept || !item.url) return;
  const [frames, rows, columns] = item.kept.grid;
  if (frames !== 1) return;
  const canvas = element("canvas", { width: columns, height: rows });
  canvas.setAttribute("aria-hidden", "true");
  const context = canvas.getContext("2d");
  context.fillStyle = "rgba(20, 22, 26, 0.62)";
  context.fillRect(0, 0, columns, rows);
  for (const index of item.kept.indices) {
    context.clearRect(index % columns, Math.floor(index / columns), 1, 1);
  }
  view.append(canvas);
}

// Cards glide from where they were to where they belong now.
export function reorder(list, items) {
  const before = new Map(items.map((item) => [item, item.card.getBoundingClientRect()]));
  list.append(...items.map((item) => item.card));
  for (const item of items) {
    const from = before.get(item), to = item.card.getBoundingClientRect();
    const move = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
    item.card.classList.remove("moving");
    item.card.style.transform = move;
    requestAnimationFrame(() => {
      item.card.classList.add("moving");
      item.card.style.transform = "";
    });
  }
}

const STAGES = {
  queue: "waiting for its turn",
  inputs: "reading pictures and texts",
  prefix: "documents not in the cache",
  suffix: "the query, and each pair",
  total: "",
};

export function showFigures(answer, seconds) {
  const times = answer.timings_ns, most = Math.max(times.total, 1);
  const rows = Object.entries(STAGES).map(([stage, words]) => {
    const bar = element("span", { className: "bar" });
    bar.style.width = `${(100 * times[stage]) / most}%`;
    const cells = [[stage, element("small", {}, words)], [milliseconds(times[stage] / 1e6)], [bar]];
    return element("tr", {}, ...cells.map((cell) => element("td", {}, ...cell)));
  });
  document.getElementById("stages").replaceChildren(...rows);
  const { computed, cached } = answer.tokens;
  const figures = {
    "ranked": answer.results.length,
    "failed": answer.failed.length,
    "round trip": milliseconds(1e3 * seconds),
    "tokens computed": computed.toLocaleString("en"),
    "tokens from the cache": cached.toLocaleString("en"),
  };
  document.getElementById("work").replaceChildren(...Object.entries(figures).map(
    ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, `${value}`))));
  document.getElementById("figures").hidden = false;
}

function facts(item) {
  return item.card.querySelector("dl");
}

function milliseconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
