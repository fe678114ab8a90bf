"use strict";

// Single edits: a list of all, the most telling first, and beside it the one that was chosen.

const UNIT = 10000; // probabilities are stored as whole numbers of 1 / UNIT
const REASONS = { loss: "loss below its limit", argmax_kl: "o* said in all contexts", max_steps: "all steps used", kept: "target of iteration 1 kept" };
// In the order of telling.FLAGS; UnderEdit that was cured is said once.
const FLAGS = [
  { name: "UnderEdit cured", tone: "good" },
  { name: "OverEdit", tone: "bad" },
  { name: "OverEdit prevented", tone: "good" },
  { name: "UnderEdit", tone: "bad" },
  { name: "wrong at the stop", tone: "bad" },
];
const [CURED, , , UNDEREDIT] = FLAGS.keys();
const ROW = ["run", "id", "subject", "old", "fresh"]; // of a row, then its flags

function flagsOf(flags) {
  return FLAGS.filter((_, i) => flags[i] && !(i === UNDEREDIT && flags[CURED]));
}

function badges(flags) {
  return flagsOf(flags).flatMap((flag) => [make("span", { class: `badge ${flag.tone}` }, flag.name), " "]);
}

function buildDrill(drill) {
  const index = read("drill-index");
  const rows = read("drill-rows");
  const parsed = new Map(); // a block is parsed when a run is first looked at
  const block = (id) => parsed.get(id) || parsed.set(id, read(id)).get(id);
  const detail = document.getElementById("drill-edit");
  const places = [...new Set(index.map((run) => `${run.dataset}, ${run.model}`))];
  const nameOf = (run) => `${run.method}, trial ${run.trial}${places.length > 1 ? `, ${run.model}, ${run.dataset}` : ""}`;
  const address = (run, id) => `#edit/${[run.dataset, run.model, run.method, run.trial, id].map(encodeURIComponent).join("/")}`;
  let current = null; // place of the chosen row in `rows`

  const total = (i) => rows.filter((row) => row[ROW.length + i]).length;
  const story = choice("Show", [["", `all edits (${rows.length})`], ...FLAGS.map((flag, i) => [i, `${flag.name} (${total(i)})`])], () => filter());
  const of = choice("Run", [["", "all runs"], ...index.map((run, i) => [i, nameOf(run)])], () => filter());
  const search = make("input", { type: "search", placeholder: "subject, object, number", autocomplete: "off" });
  search.addEventListener("input", () => filter());
  const count = make("span", { role: "status" });
  const said = make("span", { class: "unseen", role: "status" }); // the chosen edit, for readers
  document.getElementById("drill-controls").append(story.label, of.label, make("label", {}, "Search", search), count, said);

  const edit = (cell) => {
    const row = cell.getData();
    const flags = FLAGS.map((_, i) => row[ROW.length + i]);
    const objects = make("span", {}, make("span", { class: "old" }, row[3]), " → ", make("span", { class: "new" }, row[4]));
    const where = make("span", { class: "when" }, `#${row[1]}, ${nameOf(index[row[0]])} `);
    return make("div", {}, make("b", {}, row[2]), " ", objects, make("div", {}, where, ...badges(flags)));
  };
  const list = document.getElementById("drill-list");
  drill.hidden = false;
  const table = tabulate(list, [{ field: "1", title: "Edits, the most telling first", formatter: edit, headerSort: false }], rows, {
    height: "34rem",
    selectableRows: 1,
    layout: "fitColumns",
    autoResize: false, // it begins the list anew whenever the edit beside it is another one
  });
  addEventListener("resize", () => table.redraw());

  const sameRequest = (a, b) => a[1] === b[1] && index[a[0]].dataset === index[b[0]].dataset;

  function fits(row) {
    const words = search.value.trim().toLowerCase();
    return (
      (story.select.value === "" || row[ROW.length + Number(story.select.value)]) &&
      (of.select.value === "" || row[0] === Number(of.select.value)) &&
      (!words || `${row[1]} ${row[2]} ${row[3]} ${row[4]}`.toLowerCase().includes(words))
    );
  }

  // The chosen edit stays where it fits; so another run shows the same edit, and methods can be compared.
  function filter(remembered = true) {
    table.setFilter(fits);
    const kept = rows.map((row, at) => [row, at]).filter(([row]) => fits(row));
    const all = index.map((run) => run.counts.all);
    const left = all.map(([shown, there]) => there - shown).reduce((a, b) => a + b, 0);
    count.textContent = `${kept.length} of ${rows.length} edits${left ? `; ${left} more were left out` : ""}`;
    const same = kept.find(([, at]) => at === current) || kept.find(([row]) => current !== null && sameRequest(row, rows[current])) || kept[0];
    choose(same ? same[1] : null, remembered);
  }

  function choose(at, remembered = true) {
    current = at;
    table.deselectRow();
    if (at === null) return detail.replaceChildren(make("p", { class: "missing" }, "No edit fits."));
    table.selectRow(at);
    table.scrollToRow(at, "center", false).catch(() => {});
    const [place, id] = rows[at];
    const run = index[place];
    detail.replaceChildren(...editParts(run, block(run.facts), block(run.block), String(id)));
    said.textContent = detail.querySelector("h3").textContent;
    if (remembered) history.replaceState(null, "", address(run, id));
  }

  function follow() {
    if (!location.hash.startsWith("#edit/")) return false;
    const parts = location.hash.split("/").map(decoded);
    const at = rows.findIndex(([place, id]) => {
      const run = index[place];
      return [run.dataset, run.model, run.method, run.trial, id].every((part, i) => String(part) === parts[i + 1]);
    });
    if (at < 0) return false;
    story.select.value = of.select.value = search.value = "";
    current = at;
    filter();
    drill.scrollIntoView();
    return true;
  }

  table.on("rowClick", (_, row) => choose(row.getData().at));
  // Arrow keys and their like go through what is listed, where the list has the focus.
  list.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const active = table.getRows("active").map((row) => row.getData().at);
    const next = Math.min(Math.max(active.indexOf(current) + steps[event.key], 0), active.length - 1);
    if (active.length) choose(active[next]);
  });
  table.on("tableBuilt", () => {
    list.querySelector(".tabulator-tableholder").setAttribute("aria-label", "Edits; arrow keys choose one");
    count.textContent = `${rows.length} of ${rows.length} edits`;
    if (!follow()) filter(false);
    addEventListener("hashchange", follow);
  });
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
    make("h3", {}, `#${id} ${text(subject)}: ${text(old)} → ${text(fresh)} `, ...badges(edit.flags)),
    make("p", { class: "when" }, `${run.method}, trial ${run.trial}, ${run.dataset}, ${run.model}`),
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
    const kept = []; // neighbors that are answered as before at every stage
    prompts.forEach(([where, what]) => {
      const part = promptPart(where, what, text(fresh), isNeighbor, stages, at);
      const isKept = isNeighbor && stages.slice(1).every((stage) => stage.cells && stage.cells[at] && stage.cells[at][0] === 1);
      (isKept ? kept : parts).push(part);
      at += 1;
    });
    if (kept.length) parts.push(make("details", {}, make("summary", {}, `${kept.length} answered as before`), ...kept));
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
  return make("div", { class: "history" }, make("div", { class: "scroll", tabindex: "0" }, table), chart(log));
}

// Perplexity of o* by iteration on a logarithmic axis: p-bar after OPTIMIZATION, p-hat after SPREAD.
function chart(log) {
  const of = (kind, k, value) => ({ kind, k, value });
  const hats = [of("p-hat", 0, log.length ? log[0][3] : null), ...log.map((line, i) => of("p-hat", i + 1, line[5]))];
  const bars = log.map((line, i) => of("p-bar", i + 1, line[4]));
  const points = [...bars, ...hats].filter(({ value }) => typeof value === "number" && value > 0);
  if (!points.length) return make("p", { class: "missing" }, "No finite perplexity.");
  const highest = Math.max(10, ...points.map((p) => p.value));
  const every = Math.ceil(Math.log10(highest) / 5);
  const decades = d3.range(0, Math.log10(highest) + 1e-9, every).map((e) => 10 ** e);
  const byKind = { x: "k", y: "value", z: "kind", stroke: "kind" };
  const key = Plot.legend({ color: { domain: ["p-hat", "p-bar"], range: ["var(--new)", "var(--old)"] } });
  const svg = Plot.plot({
    width: 330,
    height: 190,
    marginLeft: 46,
    ariaLabel: "Perplexity of o* by iteration, p-bar after OPTIMIZATION and p-hat after SPREAD; the numbers are in the table",
    x: { label: "iteration k (0: unedited)", ticks: Math.min(log.length, 10), tickFormat: "d" },
    y: { type: "log", label: "perplexity of o*", labelArrow: "none", grid: true, ticks: decades, tickFormat: (v) => show(v), domain: [1, highest], clamp: true },
    color: { domain: ["p-hat", "p-bar"], range: ["var(--new)", "var(--old)"] },
    marks: [
      Plot.lineY(points.filter((p) => p.kind === "p-bar"), { ...byKind, strokeDasharray: "4,3" }),
      Plot.lineY(points.filter((p) => p.kind === "p-hat"), byKind),
      Plot.dot(points, { ...byKind, fill: (p) => (p.kind === "p-hat" ? "var(--new)" : "var(--paper)"), r: 3.2, title: (p) => `${p.kind}, k = ${p.k}: ${show(p.value)}`, tip: true }),
    ],
  });
  return make("div", {}, key, asImage(svg));
}

const drill = document.getElementById("drill");
if (drill) buildDrill(drill);
