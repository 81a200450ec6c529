// Runs a pattern and shows its steps as they happen: the form's page is answered as a stream of events, whose
// last one holds the page's content as it would be without this script.
"use strict";

(() => {
  const { element, begin, leave, duration } = window.dawsos;
  const svg = new DOMParser().parseFromString("<svg></svg>", "text/html").querySelector("svg").namespaceURI;
  let running = null; // aborts the run under way

  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-run]")) return;
    event.preventDefault();
    run(event.target);
  });
  document.addEventListener("click", (event) => {
    if (event.target.id === "cancel") running?.abort();
  });

  function status(text) {
    document.getElementById("run-status").textContent = text;
  }

  // steps is the table of the run under way, drawn anew as time passes.
  function newSteps(outcome) {
    const body = element("tbody");
    const head = element("tr", {}, ...["Step", "Capability", "Outcome", "Took", "When"].map((t) => element("th", { scope: "col" }, t)));
    outcome.replaceChildren(element("h2", { id: "outcome-title" }, "Running"),
      element("table", { className: "waterfall" }, element("thead", {}, head), body));
    leave();
    const rows = new Map();
    const began = performance.now();
    let first = null; // the server's clock at the first step
    let ended = false;

    function row(step) {
      let r = rows.get(step.index);
      if (!r) {
        const bar = document.createElementNS(svg, "rect");
        const picture = document.createElementNS(svg, "svg");
        picture.setAttribute("viewBox", "0 0 1000 16");
        picture.setAttribute("preserveAspectRatio", "none");
        picture.setAttribute("aria-hidden", "true");
        for (const [k, v] of [["y", "2"], ["height", "12"], ["rx", "2"]]) bar.setAttribute(k, v);
        picture.append(bar);
        const outcomeCell = element("td");
        const took = element("td", { className: "number" });
        const tr = element("tr", {}, element("th", { scope: "row" }, step.as), element("td", {}, element("code", {}, step.capability)),
          outcomeCell, took, element("td", { className: "lane" }, picture));
        r = { bar, picture, outcomeCell, took, tr };
        rows.set(step.index, r);
        body.append(tr);
      }
      return r;
    }
    function take(step) {
      const r = row(step);
      const at = Date.parse(step.started_at);
      if (!Number.isNaN(at) && at > 0) {
        first ??= at;
        r.at = at - first;
      }
      const over = step.type !== "step_started";
      const word = over ? step.status : "running";
      r.took.textContent = over && word !== "skipped" ? duration(step.duration_seconds) : "";
      r.length = over ? 1000 * step.duration_seconds : null;
      r.outcomeCell.replaceChildren(element("span", { className: `badge is-${word}` }, word));
      if (step.reason) r.outcomeCell.append(element("p", { className: "hint" }, step.reason));
      r.picture.setAttribute("class", `bar-${word}`);
      draw();
    }
    function draw() {
      const now = performance.now() - began;
      let whole = 1;
      for (const r of rows.values()) if (r.at !== undefined) whole = Math.max(whole, r.at + (r.length ?? Math.max(0, now - r.at)));
      for (const r of rows.values()) {
        if (r.at === undefined) continue;
        const length = r.length ?? Math.max(0, now - r.at);
        r.bar.setAttribute("x", String(Math.min(996, (1000 * r.at) / whole)));
        r.bar.setAttribute("width", String(Math.max(4, (1000 * length) / whole)));
      }
      if (!ended) requestAnimationFrame(draw0);
    }
    let queued = false;
    function draw0() {
      if (queued || ended) return;
      queued = true;
      setTimeout(() => {
        queued = false;
        draw();
      }, 100);
    }
    return { take, end: () => (ended = true) };
  }

  async function run(form) {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    const button = form.querySelector("button.primary");
    button.disabled = true;
    document.getElementById("cancel").hidden = false;
    status("Running …");
    const steps = newSteps(document.getElementById("outcome"));
    try {
      const response = await fetch(form.action, {
        method: "POST", body: new URLSearchParams(new FormData(form)), signal: mine.signal,
        headers: { accept: "text/event-stream", "hx-request": "true" },
      });
      if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
        show(await response.text(), response.status);
        return;
      }
      let text = "";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        for (const e of events) {
          const name = /^event: (.*)$/m.exec(e)?.[1];
          const data = JSON.parse(/^data: (.*)$/m.exec(e)[1]);
          if (name === "step") steps.take(data);
          else if (name === "done") show(data.html, data.status);
          else if (name === "failed") fail(data.detail);
        }
      }
    } catch (e) {
      fail(e.name === "AbortError" ? "You have cancelled the run." : `The run was cut off: ${e.message}`);
    } finally {
      steps.end();
      if (running === mine) running = null;
      const again = document.querySelector("form[data-run] button.primary");
      if (again) again.disabled = false;
      const cancel = document.getElementById("cancel");
      if (cancel) cancel.hidden = true;
    }
  }

  // show puts the content that the server has made in the place of what is here.
  function show(html, code) {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    const problem = fresh.getElementById("problem");
    if (problem) {
      document.getElementById("outcome").replaceChildren(document.importNode(problem, true));
      status("The run failed.");
      return;
    }
    for (const id of ["ask", "outcome"]) {
      const now = document.importNode(fresh.getElementById(id), true);
      document.getElementById(id).replaceWith(now);
      begin(now);
    }
    status(code === 200 ? "Done." : "The run did not succeed; see what is marked.");
    const wrong = document.querySelector("#ask [aria-invalid]");
    (wrong ?? document.getElementById("outcome")).focus();
  }
  function fail(text) {
    document.getElementById("outcome").replaceChildren(element("h2", { id: "outcome-title" }, "No result"), element("p", { className: "problem" }, text));
    status(text);
  }
})();
