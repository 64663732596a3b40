"use strict";
// Sorting, one filter for all tables, and copies for a paper. Without script the tables stand as
// they are: all controls are made here.
(() => {
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const frames = [...document.querySelectorAll(".wide[data-markdown]")];
  if (!frames.length) return;

  const number = (text) => {
    const found = /^[+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?/i.exec(text.trim());
    return found ? Number(found[0].replaceAll(",", "")) : NaN;
  };
  const compared = (a, b) => {
    const [x, y] = [number(a), number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const nothing = ["-", "no damage", "not measured", "not named"];
  const isNothing = (text) => nothing.includes(text);

  function sort(table, column, isDown) {
    const body = table.tBodies[0];
    const text = (row) => row.cells[column].textContent.trim();
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [text(a), text(b)];
      // What was not measured stands last either way.
      if (isNothing(x) || isNothing(y)) return isNothing(x) - isNothing(y);
      return isDown ? compared(y, x) : compared(x, y);
    });
    body.append(...rows);
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", { type: "button", className: "sort" });
      button.append(...head.childNodes);
      button.addEventListener("click", () =>
        sort(table, column, head.getAttribute("aria-sort") === "ascending"));
      head.append(button);
    });
  }

  const said = make("output", { className: "said" });
  said.setAttribute("aria-live", "polite");

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // A page that is opened from a file may not be trusted with the clipboard.
      const area = make("textarea", { value: text });
      document.body.append(area);
      area.select();
      const isDone = document.execCommand("copy");
      area.remove();
      if (!isDone) return false;
    }
    return true;
  }

  function addCopies(frame) {
    const row = make("p", { className: "copies" });
    const title = titleOf(frame);
    for (const [name, kind] of [["Markdown", "markdown"], ["LaTeX", "latex"]]) {
      const button = make("button", { type: "button", textContent: `Copy as ${name}` });
      button.setAttribute("aria-label", `Copy as ${name}: ${title}`);
      button.addEventListener("click", async () => {
        const isDone = await copy(frame.dataset[kind]);
        button.focus();
        said.textContent = isDone ? `Copied as ${name}: ${title}` : "The browser refused to copy.";
      });
      row.append(button, " ");
    }
    frame.after(row);
  }

  function titleOf(frame) {
    let before = frame.previousElementSibling;
    while (before && !/^H[1-6]$/.test(before.tagName)) before = before.previousElementSibling;
    return before ? before.textContent.trim() : "";
  }

  function addFilter() {
    const input = make("input", { type: "search", id: "filter", autocomplete: "off" });
    const label = make("label", { htmlFor: "filter", textContent: "Lines with all of these words: " });
    const lines = frames.flatMap((frame) => {
      const title = titleOf(frame);
      return [...frame.querySelectorAll("tbody tr")].map((row) => {
        const cells = [...row.cells].map((cell) => cell.textContent);
        return { row, text: [title, ...cells].join(" ").toLowerCase() };
      });
    });
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const { row, text } of lines) {
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      said.textContent = words.length ? `${shown} of ${lines.length} lines` : "";
    });
    const place = make("p", { className: "filter" });
    place.append(label, input, " ", said);
    document.querySelector("h1").parentElement.querySelector("h2.first").after(place);
  }

  frames.forEach((frame) => makeSortable(frame.querySelector("table")));
  addFilter();
  frames.forEach(addCopies);
})();
