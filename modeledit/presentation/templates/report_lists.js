"use strict";

// Lists: a table that is filtered by its columns with few different texts, and by words.

const KEYS = ["k", "trial", "table"]; // numbers that are names

function buildList(place) {
  const data = read("list-" + place.dataset.list);
  const title = (i) => data.columns[i].replaceAll("_", " ");
  // Columns without any value are left out, those with one value for all rows are said above.
  const there = data.columns.map((_, i) => i).filter((i) => !data.rows.length || data.rows.some((row) => row[i] !== null));
  const same = there.filter((i) => data.rows.length > 1 && data.rows.every((row) => row[i] === data.rows[0][i]));
  const used = there.filter((i) => !same.includes(i));
  const numeric = (i) => data.rows.some((row) => typeof row[i] === "number");
  const keep = []; // filters
  const controls = make("div", { class: "controls" });
  used.forEach((i) => {
    const isKey = KEYS.includes(data.columns[i]);
    if ((numeric(i) && !isKey) || data.columns[i] === "tolerance") return;
    const values = [...new Set(data.rows.map((row) => row[i]).filter((v) => v !== null))];
    if (values.length < 2 || values.length > 40) return;
    if (isKey) values.sort((a, b) => a - b);
    const { select, label } = choice(title(i), [["", "all"], ...values.map((value, n) => [n, String(value)])], filter);
    keep.push((row) => select.value === "" || row[i] === values[Number(select.value)]);
    controls.append(label);
  });
  const search = make("input", { type: "search", autocomplete: "off" });
  search.addEventListener("input", filter);
  const status = make("span", { role: "status" });
  controls.append(make("label", {}, "contains", search), status);
  const verdict = (value) => make("span", { class: "badge " + (data.tones[value] || "") }, value);
  const columns = used.map((i) => ({
    field: String(i),
    title: title(i),
    sorter: order,
    hozAlign: numeric(i) ? "right" : "left",
    headerHozAlign: numeric(i) ? "right" : "left",
    formatter: (cell) => (data.columns[i] === "verdict" ? verdict(cell.getValue()) : document.createTextNode(show(cell.getValue()))),
    tooltip: (_, cell) => (String(cell.getValue()).length > 40 ? document.createTextNode(cell.getValue()) : ""),
    maxWidth: 420,
  }));
  const grid = make("div", { "aria-label": place.dataset.caption });
  const all = same.map((i) => `${title(i)} ${show(data.rows[0][i])}`).join(", ");
  place.replaceChildren(...(all ? [make("p", { class: "note" }, `In all rows: ${all}.`)] : []), controls, grid);
  const table = tabulate(grid, columns, data.rows, { maxHeight: "26rem" });

  function filter() {
    const words = search.value.trim().toLowerCase();
    const fits = (row) => keep.every((one) => one(row)) && (!words || data.columns.map((_, i) => row[i]).join(" ").toLowerCase().includes(words));
    table.setFilter(fits);
  }
  const count = (_, rows) => (status.textContent = `${rows.length} of ${data.rows.length}`);
  table.on("dataFiltered", count);
  table.on("tableBuilt", () => count(null, data.rows));
}

// A list is built when it comes into sight or its fold opens. On paper its file is named instead; claims open there.
const waiting = new Set(document.querySelectorAll(".listing"));
const build = (place) => waiting.delete(place) && buildList(place);
const sight = new IntersectionObserver((seen) => seen.filter((one) => one.isIntersecting).forEach((one) => build(one.target)), { rootMargin: "400px" });
waiting.forEach((place) => sight.observe(place));
document.querySelectorAll("details:has(.listing)").forEach((fold) => {
  fold.addEventListener("toggle", () => fold.open && fold.querySelectorAll(".listing").forEach(build));
});
addEventListener("beforeprint", () => {
  document.querySelectorAll("#claims > .claims details").forEach((fold) => (fold.open = true));
});
