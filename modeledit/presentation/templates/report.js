"use strict";

// What the parts of the page share: data, elements, numbers. The parts are report_*.js.

function read(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

// Numbers come as numbers, as "inf" and "-inf", or as null.
function show(value) {
  if (value === null || value === undefined) return "–";
  if (value === "inf") return "∞";
  if (value === "-inf") return "−∞";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (value !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace("-", "−");
  const text = Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
}

// Something to choose, with its name; `choices` are pairs of value and text.
function choice(name, choices, changed) {
  const select = make("select", {}, ...choices.map(([value, text]) => make("option", { value: String(value) }, text)));
  select.addEventListener("change", changed);
  return { select, label: make("label", {}, name, select) };
}

// A table of Tabulator's whose rows are arrays; only those in sight are in the document.
function tabulate(place, columns, rows, options) {
  const table = new Tabulator(place, {
    data: rows.map((row, at) => ({ ...row, at })),
    columns: columns.map((column, i) => ({ field: String(i), headerSortTristate: true, resizable: false, minWidth: 60, ...column })),
    layout: "fitDataStretch",
    index: "at",
    placeholder: "Nothing fits.",
    ...options,
  });
  table.on("tableBuilt", () => {
    // The grid's rows are in one group that scrolls and takes the focus.
    place.removeAttribute("aria-owns");
    place.querySelector(".tabulator-tableholder").setAttribute("role", "rowgroup");
    place.querySelector(".tabulator-table").setAttribute("role", "presentation");
    // Sorting by keyboard: Tabulator's headers only know the mouse.
    place.querySelectorAll(".tabulator-col.tabulator-sortable").forEach((head) => {
      head.tabIndex = 0;
      head.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        head.click();
      });
    });
  });
  return table;
}

// A chart is one image with a name; what Plot calls its parts is of no use to a reader.
function asImage(svg) {
  svg.setAttribute("role", "img");
  svg.querySelectorAll("[aria-label]").forEach((part) => part.removeAttribute("aria-label"));
  return svg;
}

// Numbers go before texts that stand for them ("inf") and before what is missing.
function order(a, b) {
  const value = (x) => (x === "inf" ? Infinity : x === "-inf" ? -Infinity : x);
  [a, b] = [value(a), value(b)];
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1;
  if (b === null || b === undefined) return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}
