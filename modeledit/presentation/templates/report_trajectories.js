"use strict";

// The first figure: metrics and |dp| by iteration, a line for each method with its interval, its stop in a ring.

function lineOf(course, factor, method) {
  const scaled = (value) => (typeof value === "number" ? factor * value : NaN);
  return method.k.map((k, i) => ({
    method: method.method,
    k,
    mean: scaled(course.mean[i]),
    low: scaled(course.low[i]),
    high: scaled(course.high[i]),
    stop: k === method.stop,
  }));
}

function said(point, panel) {
  const unit = panel.factor === 100 ? "%" : "";
  const around = Number.isFinite(point.low) ? ` (${show(point.low)} to ${show(point.high)})` : "";
  return `${point.method}, k = ${point.k}${point.stop ? ", stop" : ""}\n${show(point.mean)}${unit}${around}`;
}

// Black lines are drawn in the colour of the text, which is light on a dark page.
const inkOf = (method) => (method.colour === "#000000" ? "currentColor" : method.colour);

function trajectoryPanel(record, panel, lowest) {
  const methods = record.methods;
  const points = methods.flatMap((method) => lineOf(method.courses[panel.metric], panel.factor, method)).filter((p) => Number.isFinite(p.mean));
  const isRule = panel.metric === "dp";
  const drawn = points.map((p) => p.mean).filter((v) => v > 0);
  const log = isRule && drawn.length > 0 && Math.max(...drawn) > 20 * Math.min(...drawn);
  const shown = log ? points.filter((p) => p.mean > 0) : points;
  const [bottom, top] = [Math.min(...drawn, record.epsilon) / 1.8, Math.max(...drawn, record.epsilon) * 1.8]; // of a logarithmic axis
  const clipped = (p) => (log ? { ...p, low: Math.max(p.low, bottom), high: Math.min(p.high, top) } : p);
  const banded = shown.filter((p) => Number.isFinite(p.low)).map(clipped);
  const decades = d3.range(Math.ceil(Math.log10(bottom)), Math.log10(top) + 1e-9).map((e) => 10 ** e);
  const ks = [...new Set(methods.flatMap((method) => method.k))];
  const byMethod = { x: "k", z: "method", stroke: "method" };
  return Plot.plot({
    width: 210,
    height: 190,
    marginLeft: 34,
    marginTop: 26,
    marginRight: 14,
    marginBottom: 34,
    style: { fontSize: "11px" },
    ariaLabel: panel.title,
    ariaDescription: "By iteration, a line for each method; the numbers are in the table below the figure.",
    x: { label: "iteration k", ticks: ks.length > 8 ? 6 : ks, tickFormat: "d", domain: [Math.min(...ks) - 0.15, Math.max(...ks) + 0.15] },
    y: isRule
      ? { label: panel.title, labelArrow: "none", grid: true, tickFormat: (v) => show(v), ...(log ? { type: "log", domain: [bottom, top], ticks: decades } : { zero: true, ticks: 4 }) }
      : { label: `${panel.title} (%)`, labelArrow: "none", domain: [lowest, 100], grid: true, ticks: 4 },
    color: { domain: methods.map((m) => m.method), range: methods.map(inkOf) },
    symbol: { domain: methods.map((m) => m.method) },
    marks: [
      Plot.areaY(banded, { x: "k", y1: "low", y2: "high", z: "method", fill: "method", fillOpacity: 0.15 }),
      isRule ? Plot.ruleY([record.epsilon], { strokeDasharray: "2,3", stroke: "currentColor" }) : null,
      isRule ? Plot.text([record.epsilon], { y: (v) => v, text: () => "ε", frameAnchor: "right", dx: 10 }) : null,
      ...[false, true].map((dashed) => {
        const names = new Set(methods.filter((m) => m.dashed === dashed).map((m) => m.method));
        return Plot.lineY(shown.filter((p) => names.has(p.method)), { ...byMethod, y: "mean", strokeWidth: 1.8, strokeDasharray: dashed ? "5,3" : null });
      }),
      Plot.dot(shown, { ...byMethod, y: "mean", fill: "method", symbol: "method", r: 3 }),
      Plot.dot(shown.filter((p) => p.stop), { ...byMethod, y: "mean", r: 8, strokeWidth: 1.4 }),
      Plot.tip(shown, Plot.pointer({ x: "k", y: "mean", title: (point) => said(point, panel) })),
    ],
  });
}

// Whole methods of a legend: line, symbol and name.
function legendOf(record) {
  const methods = record.methods;
  const key = Plot.legend({
    symbol: { domain: methods.map((m) => m.method) },
    color: { domain: methods.map((m) => m.method), range: methods.map(inkOf) },
    fill: "color",
    stroke: "color",
  });
  const stops = methods.map((m) => `${m.method} ${m.stop === null ? "did not meet the rule" : `at k = ${m.stop_text}`}`).join(", ");
  return make("div", { class: "key" }, key, make("p", { class: "note" }, `A ring marks the stop: ${stops}.`));
}

function trajectoryTable(record) {
  const head = make("tr", {}, make("th", { scope: "col" }, "Method"), make("th", { scope: "col", class: "number" }, "k"));
  record.panels.forEach((panel) => head.append(make("th", { scope: "col", class: "number" }, panel.factor === 100 ? `${panel.title} (%)` : panel.title)));
  const body = record.methods.flatMap((method) =>
    method.k.map((k, i) => {
      const row = make("tr", { class: k === method.stop && "green" }, make("td", {}, method.method), make("td", { class: "number" }, show(k)));
      record.panels.forEach((panel) => {
        const point = lineOf(method.courses[panel.metric], panel.factor, method)[i];
        const around = Number.isFinite(point.low) ? ` (${show(point.low)} to ${show(point.high)})` : "";
        row.append(make("td", { class: "number" }, Number.isFinite(point.mean) ? show(point.mean) + around : "–"));
      });
      return row;
    })
  );
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  return make("details", {}, make("summary", {}, "The numbers"), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers of the figure" }, table));
}

function buildTrajectories(place) {
  const studies = read("trajectories-data");
  const content = make("div");
  const { select, label } = choice("Shown", studies.map((study, i) => [i, study.where]), draw);
  function draw() {
    const { record } = studies[Number(select.value)];
    const fractions = record.panels.filter((panel) => panel.factor === 100);
    const values = record.methods.flatMap((m) => fractions.flatMap(({ metric }) => [...m.courses[metric].mean, ...m.courses[metric].low])).filter((v) => typeof v === "number");
    const lowest = Math.max(0, 10 * Math.floor(10 * Math.min(1, ...values)) - 2);
    const panels = record.panels.map((panel) => asImage(trajectoryPanel(record, panel, lowest)));
    content.replaceChildren(legendOf(record), make("div", { class: "panels" }, ...panels), trajectoryTable(record));
  }
  draw();
  if (studies.length > 1) place.append(make("div", { class: "controls" }, label));
  else place.append(make("p", { class: "where" }, studies[0].where));
  place.append(content);
}

const trajectories = document.getElementById("trajectories");
if (trajectories) buildTrajectories(trajectories);
