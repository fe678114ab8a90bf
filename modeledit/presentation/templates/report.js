"use strict";

// ---- Small things

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

// ---- Lists: a table that is filtered by the columns with few different texts, and by words

const PAGE = 100;

function buildList(place) {
  const data = read("list-" + place.dataset.list);
  // Columns without any value are left out.
  const used = data.columns.map((_, i) => i).filter((i) => !data.rows.length || data.rows.some((row) => row[i] !== null));
  const kind = used.map((i) => {
    if (data.rows.some((row) => typeof row[i] === "number")) return "number";
    return data.rows.some((row) => String(row[i]).length > 40) ? "text" : undefined;
  });
  const title = (i) => data.columns[i].replaceAll("_", " ");
  const filters = [];
  const controls = make("div", { class: "controls" });
  used.forEach((i, j) => {
    const isKey = ["k", "trial", "table"].includes(data.columns[i]);
    if ((kind[j] === "number" && !isKey) || data.columns[i] === "tolerance") return;
    const values = [...new Set(data.rows.map((row) => row[i]).filter((v) => v !== null))];
    if (values.length < 2 || values.length > 40) return;
    if (isKey) values.sort((a, b) => a - b);
    const select = make("select", {}, make("option", { value: "" }, "all"));
    values.forEach((value, n) => select.append(make("option", { value: String(n) }, String(value))));
    filters.push((row) => select.value === "" || row[i] === values[Number(select.value)]);
    select.addEventListener("change", () => draw(PAGE));
    controls.append(make("label", {}, title(i), select));
  });
  const search = make("input", { type: "search", autocomplete: "off" });
  search.addEventListener("input", () => draw(PAGE));
  const status = make("span", { role: "status" });
  controls.append(make("label", {}, "contains", search), status);
  const head = make("tr", {}, ...used.map((i, j) => make("th", { scope: "col", class: kind[j] }, title(i))));
  const body = make("tbody");
  const table = make("table", {}, make("caption", {}, place.dataset.caption), make("thead", {}, head), body);
  const more = make("button", { type: "button" }, "Show all");
  more.addEventListener("click", () => draw(Infinity));

  function draw(most) {
    const words = search.value.trim().toLowerCase();
    const found = data.rows.filter(
      (row) => filters.every((keep) => keep(row)) && (!words || row.join(" ").toLowerCase().includes(words))
    );
    const rows = found.slice(0, most).map((row) => {
      const line = make("tr");
      used.forEach((i, j) => {
        const isVerdict = data.columns[i] === "verdict";
        const content = isVerdict ? make("span", { class: "badge " + (data.tones[row[i]] || "") }, row[i]) : show(row[i]);
        line.append(make("td", { class: kind[j] }, content));
      });
      return line;
    });
    body.replaceChildren(...rows);
    const shown = rows.length < found.length ? `, first ${rows.length} shown` : "";
    status.textContent = `${found.length} of ${data.rows.length}${shown}`;
    more.hidden = rows.length === found.length;
  }

  place.replaceChildren(controls, make("div", { class: "scroll" }, table), more);
  draw(PAGE);
}

// ---- Single edits

const UNIT = 10000; // probabilities are stored as whole numbers of 1 / UNIT
const REASONS = { loss: "loss below its limit", argmax_kl: "o* said in all contexts", max_steps: "all steps used", kept: "target of iteration 1 kept" };
const FLAGS = ["UnderEdit", "wrong", "broken"];

function buildDrill(drill) {
  const index = read("drill-index");
  const parsed = new Map(); // a block is parsed when a run is first looked at
  const block = (id) => parsed.get(id) || parsed.set(id, read(id)).get(id);
  const [runs, filter, search, list, count, detail] = ["run", "filter", "search", "list", "count", "edit"].map(
    (name) => document.getElementById("drill-" + name)
  );
  const groups = new Map();
  index.forEach((run, i) => {
    const name = `${run.dataset}, ${run.model}`;
    if (!groups.has(name)) groups.set(name, runs.appendChild(make("optgroup", { label: name })));
    groups.get(name).append(make("option", { value: String(i) }, `${run.method}, trial ${run.trial}`));
  });

  const current = () => index[Number(runs.value)];
  const address = (run, id) => `#edit/${[run.dataset, run.model, run.method, run.trial, id].map(encodeURIComponent).join("/")}`;

  function titles(run) {
    const { requests, texts } = block(run.facts);
    return (id) => {
      const [subject, prompt, fresh, old] = requests[id].slice(0, 4).map((number) => texts[number]);
      return { short: `${subject}: ${old} → ${fresh}`, all: `${id} ${prompt} ${old} ${fresh}`.toLowerCase() };
    };
  }

  function drawList(wanted) {
    const run = current();
    const edits = block(run.block).edits;
    const title = titles(run);
    const words = search.value.trim().toLowerCase();
    const kept = Object.keys(edits).filter(
      (id) => (filter.value === "" || edits[id].flags[Number(filter.value)]) && (!words || title(id).all.includes(words))
    );
    list.replaceChildren(
      ...kept.map((id) => {
        const text = [`#${id} ${title(id).short}`, ...FLAGS.filter((_, i) => edits[id].flags[i])].join(" · ");
        return make("option", { value: id, title: text }, text);
      })
    );
    const all = Object.keys(edits).length;
    const left = run.counts.all[1] - all;
    count.textContent = `${kept.length} of ${all} edits${left ? `; ${left} of this run left out` : ""}`;
    list.value = kept.includes(wanted) ? wanted : kept[0] || "";
    drawEdit();
  }

  function drawEdit() {
    const run = current();
    if (!list.value) return detail.replaceChildren(make("p", { class: "missing" }, "No edit fits."));
    detail.replaceChildren(...editParts(run, block(run.facts), block(run.block), list.value));
  }

  function remember() {
    history.replaceState(null, "", list.value ? address(current(), list.value) : "#edits");
  }

  function follow() {
    if (!location.hash.startsWith("#edit/")) return false;
    const parts = location.hash.split("/").map(decoded);
    const at = index.findIndex((run) => [run.dataset, run.model, run.method, String(run.trial)].every((part, i) => part === parts[i + 1]));
    if (at < 0) return false;
    runs.value = String(at);
    filter.value = "";
    search.value = "";
    drawList(parts[5]);
    drill.scrollIntoView();
    return true;
  }

  // Another run shows the same edit, where it has it, so that methods can be compared.
  runs.addEventListener("change", () => (drawList(list.value), remember()));
  filter.addEventListener("change", () => (drawList(list.value), remember()));
  search.addEventListener("input", () => drawList(list.value));
  list.addEventListener("change", () => (drawEdit(), remember()));
  window.addEventListener("hashchange", follow);
  drill.hidden = false;
  if (!follow()) drawList();
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function editParts(run, facts, own, id) {
  const text = (number) => facts.texts[number];
  const [subject, prompt, fresh, old, paraphrases, neighbors, editing] = facts.requests[id];
  const edit = own.edits[id];
  const flags = FLAGS.filter((_, i) => edit.flags[i]).map((flag) => make("span", { class: "badge bad" }, flag));
  const objects = make("dd", {}, make("span", { class: "old" }, text(old)), " → ", make("span", { class: "new" }, text(fresh)));
  const known = make("dl", { class: "facts" }, make("dt", {}, "Prompt"), make("dd", {}, ...marked(text(prompt), text(subject))));
  known.append(make("dt", {}, "Subject"), make("dd", {}, text(subject)), make("dt", {}, "o → o*"), objects);
  editing.slice(0, run.n_neighbors).forEach(([where, what]) => {
    known.append(make("dt", {}, "Neighbor in the loss"), make("dd", {}, text(where), " ", make("i", {}, text(what))));
  });
  const contexts = make("ul", {}, ...run.contexts.map((context) => make("li", {}, context.replace("{}", text(prompt)))));
  const used = make("details", {}, make("summary", {}, `${run.contexts.length} contexts of the edit prompt`), contexts);
  if (run.neighbor_contexts.length) {
    used.append(make("p", {}, "Contexts of the neighbor: " + run.neighbor_contexts.map((context) => `“${context}”`).join(", ")));
  }
  const parts = [
    make("h3", {}, `#${id} ${text(subject)}: ${text(old)} → ${text(fresh)} `, ...flags.flatMap((flag) => [flag, " "])),
    known,
    used,
    make("h4", {}, "Iterations"),
    historyOf(edit.log, own.reasons, run),
  ];
  if (!facts.has_top) {
    const why = "These scores hold no likeliest tokens and no ranks: they were made before these were recorded.";
    parts.push(make("p", { class: "missing" }, why));
  }
  const stages = [{ when: "before editing", cells: facts.before[id], tokens: facts.tokens }];
  run.stages.forEach((k, i) => {
    const end = k !== run.stop ? "" : run.met ? ", the stop" : ", the last (rule not met)";
    stages.push({ when: `after k = ${k}${end}`, cells: edit.cells[i], tokens: own.tokens });
  });
  let at = 0;
  const group = (title, prompts, isNeighbor) => {
    if (!prompts.length) return;
    parts.push(make("h4", {}, title));
    prompts.forEach(([where, what]) => parts.push(promptPart(where, what, text(fresh), isNeighbor, stages, at++)));
  };
  group("Edit prompt", [[text(prompt), text(old)]], false);
  group("Paraphrases", paraphrases.map((number) => [text(number), text(old)]), false);
  group("Neighbors", neighbors.map(([where, what]) => [text(where), text(what)]), true);
  return parts;
}

function marked(prompt, subject) {
  const at = prompt.indexOf(subject);
  return at < 0 ? [prompt] : [prompt.slice(0, at), make("mark", {}, subject), prompt.slice(at + subject.length)];
}

function promptPart(where, old, fresh, isNeighbor, stages, at) {
  const line = make("p", {}, where, " ");
  if (isNeighbor) line.append(make("span", { class: "old" }, old), " ", make("span", { class: "when" }, `(not ${fresh})`));
  const row = make("div", { class: "stages" });
  stages.forEach((stage) => {
    if (stage.cells && stage.cells[at]) row.append(stagePart(stage, stage.cells[at], isNeighbor));
  });
  return make("div", { class: "prompt" }, line, row);
}

function mark(value, yes, no) {
  if (value === null) return undefined;
  if (value > 0 && value < 1) return make("p", { class: "fair" }, `◐ in part (${show(100 * value)}%)`);
  return value ? make("p", { class: "good" }, `✓ ${yes}`) : make("p", { class: "bad" }, `✗ ${no}`);
}

function stagePart(stage, cell, isNeighbor) {
  const [right, prefers, rankNew, rankOld, logNew, logOld, ...top] = cell;
  const box = make("div", { class: "stage" }, make("p", { class: "when" }, stage.when));
  box.append(
    ...[
      isNeighbor ? mark(right, "same answer as before", "another answer than before") : mark(right, "says o*", "does not say o*"),
      isNeighbor ? mark(prefers, "o likelier than o*", "o* likelier than o") : mark(prefers, "o* likelier than o", "o likelier than o*"),
    ].filter(Boolean)
  );
  const both = (name, fresh, old) =>
    make("p", {}, `${name} `, make("span", { class: "new" }, `o* ${fresh}`), ", ", make("span", { class: "old" }, `o ${old}`));
  box.append(both("log p:", show(logNew), show(logOld)));
  if (rankNew === null) return box;
  const ranks = [rankNew, rankOld].map((rank) => [rank].flat());
  box.append(both("rank:", ...ranks.map((rank) => rank.join(", ") || "–")));
  const likeliest = make("ol", { class: "top", "aria-label": "likeliest next tokens" });
  for (let i = 0; i < top.length; i += 2) {
    const place = i / 2 + 1;
    const kind = place === ranks[0][0] ? "new" : place === ranks[1][0] ? "old" : undefined;
    const item = make("li", { class: kind }, make("code", {}, visible(stage.tokens[top[i]])), make("span", {}, percent(top[i + 1])));
    item.style.setProperty("--share", `${(100 * top[i + 1]) / UNIT}%`);
    likeliest.append(item);
  }
  box.append(likeliest);
  return box;
}

function visible(token) {
  return token === "" ? "(empty)" : token.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
}

function percent(units) {
  const share = (100 * units) / UNIT;
  return share < 0.1 ? "<0.1%" : `${share.toFixed(1)}%`;
}

function historyOf(log, reasons, run) {
  const head = ["k", "steps", "stopped because", "loss", "p before", "p-bar", "p-hat"];
  const body = log.map(([steps, reason, loss, init, bar, hat], i) => {
    const cells = [run.iterations[i], steps, REASONS[reasons[reason]] || reasons[reason], loss, init, bar, hat];
    const line = make("tr", { class: run.met && run.iterations[i] === run.stop && "green" });
    cells.forEach((cell, j) => line.append(make("td", { class: j !== 2 && "number" }, show(cell))));
    return line;
  });
  const names = make("tr", {}, ...head.map((name, j) => make("th", { scope: "col", class: j !== 2 && "number" }, name)));
  const table = make("table", {}, make("thead", {}, names), make("tbody", {}, ...body));
  return make("div", { class: "history" }, make("div", { class: "scroll" }, table), make("div", {}, chart(log)));
}

// Perplexity of o* by iteration on a logarithmic axis: p-bar after OPTIMIZATION, p-hat after SPREAD.
function chart(log) {
  const [width, height, left, right, top, bottom] = [330, 170, 44, 12, 22, 34];
  const hats = [log.length ? log[0][3] : null, ...log.map((line) => line[5])];
  const bars = [null, ...log.map((line) => line[4])];
  const drawn = [...hats, ...bars].filter((value) => typeof value === "number" && value > 0).map(Math.log10);
  const high = Math.max(1, Math.ceil(Math.max(0, ...drawn)));
  const x = (k) => left + ((width - left - right) * k) / Math.max(1, log.length);
  const y = (value) => height - bottom - ((height - top - bottom) * Math.max(0, Math.log10(value))) / high;
  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const said = "Perplexity of o* by iteration, p-bar after OPTIMIZATION and p-hat after SPREAD; the numbers are in the table";
  const image = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said });
  const every = Math.ceil(high / 4);
  for (let decade = 0; decade <= high; decade += every) {
    const at = y(10 ** decade);
    image.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: at, y2: at }));
    image.append(svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, decade < 4 ? String(10 ** decade) : `1e${decade}`));
  }
  const step = Math.ceil((log.length + 1) / 12);
  for (let k = 0; k <= log.length; k += step) {
    image.append(svg("text", { x: x(k), y: height - bottom + 16, "text-anchor": "middle" }, String(k)));
  }
  image.append(svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, "iteration k (0: unedited)"));
  image.append(svg("text", { x: left, y: 13 }, "perplexity of o*"));
  image.append(svg("text", { class: "hat", x: width - 105, y: 13 }, "● p-hat"), svg("text", { class: "bar", x: width - 54, y: 13 }, "○ p-bar"));
  for (const [name, values] of [["bar", bars], ["hat", hats]]) {
    const points = values.map((value, k) => [value, k]).filter(([value]) => typeof value === "number" && value > 0);
    image.append(svg("path", { class: name, d: points.map(([value, k], i) => `${i ? "L" : "M"}${x(k)} ${y(value)}`).join("") }));
    points.forEach(([value, k]) => image.append(svg("circle", { class: name, cx: x(k), cy: y(value), r: 3.2 })));
  }
  return image;
}

document.querySelectorAll(".listing").forEach(buildList);
const drill = document.getElementById("drill");
if (drill) buildDrill(drill);
