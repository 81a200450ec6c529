// Runs a pattern and draws the charts of its answer. Everything comes from this server. Vega's
// expressions are interpreted (ast: true) rather than compiled, so that the page's policy needs no
// 'unsafe-eval'.
"use strict";

const $ = (id) => document.getElementById(id);
let patterns = [];
let portfolios = [];
let answer = null; // the last one, to be drawn again when the theme changes
let views = [];
let asked = 0; // numbers the runs: an answer that a later one has overtaken is not drawn

function element(tag, properties = {}, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

// call asks the API; a problem document becomes an error with what it says.
async function call(path, options) {
  const response = await fetch(path, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const fields = (body.errors ?? []).map((e) => `${e.pointer}: ${e.detail}`);
    throw new Error([body.detail ?? body.title ?? `HTTP ${response.status}`, ...fields].join("\n"));
  }
  return body;
}

// everything reads a list to its end.
async function everything(path) {
  const items = [];
  for (let cursor = null; ;) {
    const page = await call(`${path}?limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    items.push(...page.items);
    cursor = page.next_cursor;
    if (!cursor) return items;
  }
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function current() {
  return patterns.find((p) => p.id === $("pattern").value);
}

// control makes the form field of an input as it is declared. Its data-type says how to read it.
function control(name, declared, given) {
  const id = `input-${name}`;
  let c;
  if (name === "portfolio_id" && declared.type === "uuid" && portfolios.length > 0) {
    c = element("select", {}, ...portfolios.map((p) => element("option", { value: p.id }, `${p.name} (${p.base_currency})`)));
  } else if (declared.type === "enum") {
    c = element("select", {}, ...(declared.required || declared.default != null ? [] : [element("option", { value: "" }, "")]),
      ...declared.values.map((v) => element("option", { value: v }, v)));
  } else if (declared.type === "boolean") {
    c = element("select", {}, ...["", "true", "false"].map((v) => element("option", { value: v }, v)));
  } else if (declared.type === "array" || declared.type === "object") {
    c = element("textarea", { rows: 3, spellcheck: false });
  } else {
    c = element("input", { type: declared.type === "date" ? "date" : "text" });
    if (declared.type === "integer" || declared.type === "number") c.inputMode = "decimal";
  }
  c.id = id;
  c.name = name;
  c.dataset.type = declared.type;
  c.required = declared.required === true;
  const structured = declared.type === "array" || declared.type === "object";
  const initial = given ?? (declared.default == null ? "" : structured ? JSON.stringify(declared.default) : String(declared.default));
  if (initial !== "") c.value = initial;
  const hint = element("p", { className: "hint", id: `${id}-hint` }, declared.description ?? "");
  c.setAttribute("aria-describedby", hint.id);
  return element("div", { className: "field" },
    element("label", { htmlFor: id }, name.replaceAll("_", " ") + (c.required ? " (required)" : "")), c, hint);
}

function showInputs(given = new URLSearchParams()) {
  const p = current();
  $("about").textContent = p?.description ?? "";
  const inputs = Object.entries(p?.inputs ?? {}).sort(([, a], [, b]) => Number(b.required ?? false) - Number(a.required ?? false));
  $("inputs").replaceChildren(...inputs.map(([name, d]) => control(name, d, given.get(name))));
}

// read returns a field's value as JSON text, so that the digits of a number stay as they were typed.
function read(c) {
  const text = c.value.trim();
  if (text === "") return null;
  switch (c.dataset.type) {
    case "integer":
    case "number":
    case "boolean":
    case "array":
    case "object":
      try {
        JSON.parse(text);
      } catch {
        throw new Error(`${c.name}: ${text} is not a JSON ${c.dataset.type}`);
      }
      return text;
    default:
      return JSON.stringify(text);
  }
}

async function run() {
  const p = current();
  const number = ++asked;
  const inputs = [];
  for (const c of $("inputs").querySelectorAll("[name]")) {
    const value = read(c);
    if (value !== null) inputs.push(`${JSON.stringify(c.name)}: ${value}`);
  }
  const asof = $("asof").value ? `, "asof": ${JSON.stringify($("asof").value)}` : "";
  say(`Running ${p.name} …`);
  const got = await call(`/v1/patterns/${encodeURIComponent(p.id)}/execute`, {
    method: "POST", headers: { "content-type": "application/json" }, body: `{"inputs": {${inputs.join(", ")}}${asof}}`,
  });
  if (number !== asked) return;
  answer = got;
  await show();
  const n = answer.charts.length;
  say(`${n} ${n === 1 ? "chart" : "charts"}, as of ${answer.trace.asof}.`);
  $("answer").focus();
}

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// themed gives a specification the page's text colours, which have more contrast than its own that
// serve on any background.
function themed(spec) {
  const text = dark() ? "#c9d1d9" : "#3d444d";
  const line = dark() ? "#6e7681" : "#8c959f";
  return {
    ...spec,
    config: vega.mergeConfig({}, spec.config ?? {}, {
      axis: { labelColor: text, titleColor: text, domainColor: line, tickColor: line, gridColor: line },
      legend: { labelColor: text, titleColor: text },
      title: { color: text, subtitleColor: text },
      text: { color: text },
    }),
  };
}

// table shows a chart's data to whoever can't see the chart.
function table(spec) {
  const rows = spec.data?.values;
  if (!Array.isArray(rows) || rows.length === 0) return null;
  const columns = Object.keys(rows[0]);
  const details = element("details", {}, element("summary", {}, "Data"));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    details.append(element("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Data of the chart" },
      element("table", {},
        element("thead", {}, element("tr", {}, ...columns.map((c) => element("th", { scope: "col" }, c)))),
        element("tbody", {}, ...rows.map((r) => element("tr", {}, ...columns.map((c) => element("td", {}, r[c] == null ? "" : String(r[c])))))))));
  });
  return details;
}

// save offers a chart as a file.
function save(view, name, format) {
  const button = element("a", { href: "#", download: `${name}.${format}` }, format.toUpperCase());
  button.addEventListener("click", async (event) => {
    if (button.dataset.ready) {
      delete button.dataset.ready;
      return;
    }
    event.preventDefault();
    button.href = await view.toImageURL(format, 2);
    button.dataset.ready = "true";
    button.click();
  });
  return button;
}

const refuse = () => Promise.reject(new Error("a chart holds all that it shows"));
const offline = Object.assign(vega.loader(), { load: refuse, sanitize: refuse });

async function draw(spec, place) {
  const name = spec.name ?? "chart";
  const plot = element("div");
  const caption = element("figcaption", {}, spec.description ?? "");
  const figure = element("figure", {}, plot, caption);
  place.append(figure);
  try {
    const { view } = await vegaEmbed(plot, themed(spec), {
      ast: true, actions: false, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
      loader: offline,
    });
    views.push(view);
    const data = table(spec);
    figure.append(...(data ? [data] : []), element("ul", { ariaLabel: `Save ${name}` },
      element("li", {}, save(view, name, "svg")), element("li", {}, save(view, name, "png"))));
  } catch (e) {
    plot.replaceChildren(element("p", { className: "wrong" }, `${name} can't be drawn: ${e.message}`));
  }
}

async function show() {
  if (!answer) return;
  views.forEach((v) => v.finalize());
  views = [];
  const notes = answer.warnings.map((w) => element("li", {}, w));
  $("notes").replaceChildren(...(notes.length ? [element("h3", {}, "Warnings"), element("ul", {}, ...notes)] : []));
  if (answer.charts.length === 0) $("notes").append(element("p", {}, "The answer has no charts."));
  const place = element("div", { id: "charts" });
  $("charts").replaceWith(place);
  for (const spec of answer.charts) await draw(spec, place);
  $("notes").append(element("details", {}, element("summary", {}, "Data of the answer"),
    element("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Data of the answer" }, element("pre", {}, JSON.stringify(answer.data, null, 2)))));
}

function theme(chosen) {
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

async function start() {
  $("theme").addEventListener("change", () => {
    theme($("theme").value);
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  $("pattern").addEventListener("change", () => showInputs());
  $("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = $("ask").querySelector("button");
    button.disabled = true;
    try {
      await run();
    } catch (e) {
      say(e.message, true);
    } finally {
      button.disabled = false;
    }
  });
  try {
    [patterns, portfolios] = await Promise.all([everything("/v1/patterns"), everything("/v1/portfolios")]);
  } catch (e) {
    say(e.message, true);
    return;
  }
  const drawing = patterns.filter((p) => (p.charts ?? []).length > 0);
  const rest = patterns.filter((p) => (p.charts ?? []).length === 0);
  const options = (list) => list.map((p) => element("option", { value: p.id }, p.name));
  $("pattern").append(...(drawing.length ? [element("optgroup", { label: "With charts" }, ...options(drawing))] : []),
    ...(rest.length ? [element("optgroup", { label: "Without charts" }, ...options(rest))] : []));
  // The address may fill the form in: ?pattern=portfolio_overview&lookback_days=63. It never runs
  // anything: a pattern may have effects, and a link is not a decision.
  const given = new URLSearchParams(location.search);
  if (patterns.some((p) => p.id === given.get("pattern"))) $("pattern").value = given.get("pattern");
  if (given.has("asof")) $("asof").value = given.get("asof");
  showInputs(given);
}

start();
