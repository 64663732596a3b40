"use strict";
// Draws photograph, heat map and mask from the two small pictures of each photograph; filter, sort
// and keys. Without it the page shows the same two pictures and the same words.

// Dark to light in even steps, told apart with any colour vision (matplotlib's inferno, CC0).
const HEAT = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]];
// From outside in, 2 pixels each: cyan, dark, light; one of them shows on whatever lies below.
const RINGS = [[0, 229, 255], [0, 229, 255], [16, 0, 32], [255, 255, 255]];
const heat = Array.from({ length: 256 }, (_, level) => heatColour(level / 255));
const articles = [...document.querySelectorAll("article")];
const drawn = new Map(); // article -> its pixels, while it is near the window
let current = null;

function heatColour(share) {
  const place = share * (HEAT.length - 1);
  const below = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[below].map((low, i) => low + (place - below) * (HEAT[below + 1][i] - low));
}

function pixelsOf(image) {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

async function load(article) {
  const canvas = article.querySelector("canvas");
  if (!canvas || drawn.has(article)) return;
  drawn.set(article, null);
  const images = ["photograph", "probability"].map((name) => article.querySelector("." + name));
  try {
    await Promise.all(images.map((image) => image.decode()));
  } catch {
    article.classList.add("broken"); // shows what the browser makes of the pictures
    return;
  }
  if (!drawn.has(article)) return; // left before it was decoded
  const [photograph, probability] = images.map(pixelsOf);
  const levels = probability.filter((_, i) => i % 4 === 0);
  drawn.set(article, { photograph, levels, width: canvas.width, height: canvas.height });
  draw(article);
}

// Returns how deep each marked pixel lies, in pixels from the edge: 1 to RINGS.length, then 0.
function depths(marked, width, height) {
  const found = new Uint8Array(marked.length);
  for (let depth = RINGS.length; depth >= 1; depth--) {
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        if (marked[i] && ((x >= depth && !marked[i - depth])
          || (x + depth < width && !marked[i + depth])
          || (y >= depth && !marked[i - depth * width])
          || (y + depth < height && !marked[i + depth * width]))) found[i] = depth;
      }
    }
  }
  return found;
}

function blended({ photograph, levels, width, height }, view, threshold) {
  const image = new ImageData(width, height);
  const marked = levels.map((level) => level > 255 * threshold ? 1 : 0);
  const edge = view > 0 ? depths(marked, width, height) : null;
  const share = Math.abs(view) / 100;
  for (let i = 0, at = 0; i < levels.length; i++, at += 4) {
    for (let c = 0; c < 3; c++) {
      const over = view < 0 ? heat[levels[i]][c] : 255 * marked[i];
      image.data[at + c] = edge && edge[i] ? RINGS[edge[i] - 1][c]
        : (1 - share) * photograph[at + c] + share * over;
    }
    image.data[at + 3] = 255;
  }
  return { image, share: marked.reduce((sum, mark) => sum + mark, 0) / marked.length };
}

function viewWords(view) {
  if (view === 0) return "photograph";
  return view < 0 ? `heat map ${-view} %` : `mask ${view} %`;
}

function draw(article) {
  const pixels = drawn.get(article);
  if (!pixels) return;
  const [view, threshold] = [".view", ".threshold"].map((name) => article.querySelector(name));
  const [viewSaid, thresholdSaid] = article.querySelectorAll(".controls output");
  const canvas = article.querySelector("canvas");
  const { image, share } = blended(pixels, Number(view.value), Number(threshold.value));
  const words = viewWords(Number(view.value));
  const marked = `${(100 * share).toFixed(1)} % marked`;
  canvas.getContext("2d").putImageData(image, 0, 0);
  outlineBoxes(article, canvas);
  view.setAttribute("aria-valuetext", words);
  threshold.setAttribute("aria-valuetext", `${threshold.value}, ${marked}`);
  canvas.setAttribute("aria-label", `${article.dataset.name}: ${words}, ${marked}`);
  viewSaid.textContent = words;
  thresholdSaid.textContent = `${Number(threshold.value).toFixed(2)}: ${marked}`;
}

function outlineBoxes(article, canvas) {
  const scale = canvas.width / Number(article.dataset.width);
  const context = canvas.getContext("2d");
  for (const button of article.querySelectorAll("button[aria-pressed=true]")) {
    const box = button.dataset.box.split(" ").map((value) => Number(value) * scale);
    for (const [colour, width] of [["#fff", 6], ["#100020", 4], ["#ff4dff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(...box);
    }
  }
}

function unload(article) {
  const canvas = drawn.delete(article) && article.querySelector("canvas");
  if (canvas) canvas.replaceWith(canvas.cloneNode()); // the copy is empty
}

// Pixels are kept of what is near the window alone: 500 photographs would fill the memory.
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) load(target);
    else unload(target);
  }
}, { rootMargin: "1500px 0px" });

const filter = document.querySelector("#filter");
const onlyWarned = document.querySelector("#only-warned");
const onlyMarked = document.querySelector("#only-marked");
const sort = document.querySelector("#sort");
const all = document.querySelector("#threshold-of-all");

function show() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const article of articles) {
    const { searched, warnings, marked } = article.dataset;
    article.hidden = !words.every((word) => searched.includes(word))
      || (onlyWarned.checked && Number(warnings) === 0)
      || (onlyMarked.checked && Number(marked) === 0);
    count += article.hidden ? 0 : 1;
  }
  document.querySelector("#count").textContent = `${count} of ${articles.length} shown`;
  document.querySelector("#nothing").hidden = count > 0 || articles.length === 0;
}

function sorted() {
  const byName = (a, b) => a.dataset.name < b.dataset.name ? -1 : 1;
  const by = sort.value;
  articles.sort((a, b) => (by === "name" ? 0 : Number(b.dataset[by]) - Number(a.dataset[by]))
    || byName(a, b));
  const main = document.querySelector("main");
  main.prepend(...articles);
  const words = sort.selectedOptions[0].textContent;
  main.setAttribute("aria-label", by === "name" ? "Photographs by name"
    : `Photographs, ${by === "warnings" ? "most" : "highest"} ${words} first`);
}

function step(by) {
  const seen = articles.filter((article) => !article.hidden);
  const at = seen.indexOf(current);
  const next = seen[at < 0 ? 0 : Math.min(Math.max(at + by, 0), seen.length - 1)];
  if (!next) return;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "start" });
}

function slide(by) {
  const view = (current || articles.find((article) => !article.hidden))?.querySelector(".view");
  if (!view) return;
  view.value = Number(view.value) + by * Number(view.step);
  draw(view.closest("article"));
}

const KEYS = {
  j: () => step(1), k: () => step(-1), "/": () => filter.focus(),
  ArrowLeft: () => slide(-1), ArrowRight: () => slide(1),
};

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (key === "Escape" && target === filter) filter.blur();
  const own = target.matches("input[type=search], select")
    || (key.startsWith("Arrow") && target.matches("input[type=range], .wide"));
  if (own || event.ctrlKey || event.altKey || event.metaKey || !KEYS[key]) return;
  if (!document.querySelector("#keys").checked) return;
  event.preventDefault();
  KEYS[key]();
});

document.addEventListener("focusin", (event) => {
  current = event.target.closest("article") || current;
});

document.querySelector("main").addEventListener("input", (event) => {
  draw(event.target.closest("article"));
});

document.querySelector("main").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-box]");
  if (!button) return;
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  draw(button.closest("article"));
});

all.addEventListener("input", () => {
  for (const slider of document.querySelectorAll(".threshold")) slider.value = all.value;
  for (const article of drawn.keys()) draw(article);
});

const details = document.querySelector("details");
let wasOpen = false;
window.addEventListener("beforeprint", () => {
  wasOpen = details.open;
  details.open = true;
});
window.addEventListener("afterprint", () => { details.open = wasOpen; });

document.querySelector(".bar").addEventListener("submit", (event) => event.preventDefault());
for (const tool of document.querySelectorAll(".bar, .controls, canvas")) tool.hidden = false;
document.documentElement.classList.add("scripted");
for (const input of [filter, onlyWarned, onlyMarked]) input.addEventListener("input", show);
sort.addEventListener("change", sorted);
for (const article of articles) near.observe(article);
show();
