// What all pages do: theme, times, the live stream, dialogs, selections and charts. Nothing is inline and
// nothing is evaluated; what pages need beyond that is in a script of their own.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);

  // ---- theme

  const theme = $("theme");
  theme.addEventListener("change", () => {
    document.cookie = `theme=${theme.value}; path=/console; max-age=31536000; samesite=lax`;
    if (theme.value) document.documentElement.dataset.theme = theme.value;
    else delete document.documentElement.dataset.theme;
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());

  if ($("menu") && matchMedia("(max-width: 760px)").matches) $("menu").open = false;

  // ---- times: <time class="ago"> says how long ago, or how long until

  const spans = [[60, "s", 1], [3600, "min", 60], [172800, "h", 3600], [Infinity, "days", 86400]];
  function span(seconds) {
    const [, unit, size] = spans.find(([below]) => Math.abs(seconds) < below);
    return `${Math.floor(Math.abs(seconds) / size)} ${unit}`;
  }
  // duration shows a span with three digits, in the unit that suits it, as the server does.
  function duration(seconds) {
    const three = (x) => Number(x.toPrecision(3));
    const s = three(seconds); // before the unit is chosen: 999.9 ms are 1 s
    const minutes = Math.round(s / 60);
    const hours = Math.round(s / 360) / 10;
    if (s === 0) return "0";
    if (s < 1e-3) return `${(s * 1e6).toFixed(0)} µs`;
    if (s < 1) return `${three(s * 1e3)} ms`;
    if (s < 120) return `${s} s`;
    if (minutes < 120) return `${minutes} min`;
    if (hours < 48) return `${hours.toFixed(1)} h`;
    return `${Math.round(s / 86400)} days`;
  }
  function tell(root = document) {
    for (const t of root.querySelectorAll("time.ago")) {
      const s = (Date.now() - Date.parse(t.dateTime)) / 1000;
      const text = s >= 0 ? `${span(s)} ago` : `in ${span(s)}`;
      if (t.textContent !== text) {
        t.title ||= t.textContent;
        t.textContent = text;
      }
    }
  }

  // ---- live: regions marked data-live are replaced when what they show has changed

  const main = $("main");
  let heard = null; // when the server was last heard, by this machine's clock
  let trouble = "";
  let stream = null;

  function listen() {
    if (stream || document.hidden || !main.querySelector("[data-live]")) return;
    stream = new EventSource(`/console/live?of=${encodeURIComponent(location.pathname + location.search)}&mark=${main.dataset.mark}`);
    const hear = (then) => (event) => {
      const data = JSON.parse(event.data);
      heard = Date.now();
      trouble = data.detail ?? "";
      then(data);
      show();
    };
    stream.addEventListener("heard", hear(() => {}));
    stream.addEventListener("trouble", hear(() => {}));
    stream.addEventListener("changed", hear((data) => {
      main.dataset.mark = data.mark;
      renew(data.html);
    }));
    stream.addEventListener("error", () => {
      if (stream?.readyState !== EventSource.CLOSED) return; // the browser comes back by itself
      stream = null; // an answer that is no stream: try again in a while, unless the session is over
      fetch(location.href, { redirect: "manual", headers: { "HX-Request": "true" } }).then((r) => r.status === 401, () => false).then((over) => {
        if (over) {
          trouble = "You are signed out; load this page again to sign in";
          show();
        } else setTimeout(listen, 3000);
      });
    });
  }
  function hush() {
    stream?.close();
    stream = null;
  }
  function show() {
    const live = $("live");
    if (!main.querySelector("[data-live]")) {
      $("heard").textContent = "this page shows a moment";
      return;
    }
    const age = heard === null ? Infinity : (Date.now() - heard) / 1000;
    live.classList.toggle("on", age < 10 && !trouble);
    live.classList.toggle("off", heard !== null && (age >= 10 || trouble !== ""));
    const since = heard === null ? "connecting" : `heard ${span(age)} ago`;
    $("heard").textContent = trouble ? `${trouble} (${since})` : age < 10 || heard === null ? `Live, ${since}` : `Not live: ${since}; connecting again`;
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));

  // What regions were as the server sent them: ages, charts and what is open have changed them since.
  const sent = new WeakMap([...main.querySelectorAll("[data-live][id]")].map((e) => [e, e.outerHTML]));
  function renew(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const old of main.querySelectorAll("[data-live][id]")) {
      const now = fresh.getElementById(old.id);
      if (!now || sent.get(old) === now.outerHTML || old.contains(document.activeElement) && typing(document.activeElement)) continue;
      swap(old, now);
    }
  }
  // What the reader does himself stays: what is typed, open, chosen and focused.
  const typing = (e) => e.matches("input:not([type=checkbox]), textarea, select");
  // counterpart finds in a region what an element was in the one before: what has its id, else what is of the same
  // row, and leads to the same or has the same name, first, second and so on of those.
  function counterpart(before, e, after) {
    if (e.id) return after.querySelector(`#${CSS.escape(e.id)}`);
    const row = (o) => (o.closest("tr") ?? o.closest("li"))?.querySelector("a[href]")?.getAttribute("href");
    const name = (o) => ["href", "aria-label", "aria-labelledby", "name", "value"].map((a) => o.getAttribute(a)).find((v) => v !== null);
    const alike = (root) => [...root.querySelectorAll(e.tagName)].filter((o) => row(o) === row(e) && name(o) === name(e));
    return alike(after)[alike(before).indexOf(e)];
  }
  function swap(old, now) {
    const opened = [...old.querySelectorAll("details[id][open]")].map((d) => d.id);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const scrolled = [...old.querySelectorAll(".scroll")].map((e) => [e, e.scrollLeft, e.scrollTop]).filter(([, left, top]) => left || top);
    const imported = document.importNode(now, true);
    sent.set(imported, now.outerHTML);
    const places = scrolled.map(([e, ...to]) => [counterpart(old, e, imported), ...to]);
    const place = focused && counterpart(old, focused, imported);
    old.replaceWith(imported);
    for (const id of opened) if ($(id)) $(id).open = true;
    for (const box of imported.querySelectorAll("input[data-select]")) box.checked = selected.has(box.value);
    htmx.process(imported);
    begin(imported);
    for (const [e, left, top] of places) e?.scrollTo({ left, top, behavior: "instant" });
    place?.focus({ preventScroll: true });
    document.dispatchEvent(new CustomEvent("console:renewed", { detail: imported }));
    choose();
  }

  // ---- selections: checkboxes with data-select, of which #selected-count says how many there are

  const selected = new Set();
  function choose() {
    const boxes = [...main.querySelectorAll("input[data-select]")];
    for (const gone of [...selected].filter((v) => !boxes.some((b) => b.value === v))) selected.delete(gone);
    for (const e of main.querySelectorAll("[data-selected-count]")) e.textContent = String(selected.size);
    for (const e of main.querySelectorAll("[data-needs-selection]")) e.disabled = selected.size === 0;
    const all = main.querySelector("input[data-select-all]");
    if (all) {
      all.checked = boxes.length > 0 && boxes.every((b) => b.checked);
      all.indeterminate = !all.checked && selected.size > 0;
    }
  }
  document.addEventListener("change", (event) => {
    const t = event.target;
    if (t.matches("input[data-select-all]")) {
      for (const b of main.querySelectorAll("input[data-select]")) {
        b.checked = t.checked;
        if (t.checked) selected.add(b.value);
        else selected.delete(b.value);
      }
      choose();
    } else if (t.matches("input[data-select]")) {
      if (t.checked) selected.add(t.value);
      else selected.delete(t.value);
      choose();
    }
  });

  // ---- dialogs: a link or form with hx-target="#dialog" opens it; data-close closes it

  document.body.addEventListener("htmx:afterSwap", (event) => {
    begin(event.detail.target);
    if (event.detail.target.id === "dialog-notice") event.detail.target.scrollIntoView({ block: "nearest" });
    if (event.detail.target === $("dialog") && $("dialog").childElementCount > 0 && !$("dialog").open) $("dialog").showModal();
  });
  document.body.addEventListener("click", (event) => {
    if (event.target.closest("[data-close]")) {
      event.preventDefault();
      $("dialog").close();
    }
  });
  $("dialog").addEventListener("close", () => $("dialog").replaceChildren());
  // notice is where the problem of who has asked for something is told: what is behind an open dialog nobody reads.
  function notice(asker) {
    if (!$("dialog").open || !$("dialog").contains(asker)) return $("notice");
    if (!$("dialog-notice")) {
      const first = element("div", { id: "dialog-notice" });
      first.setAttribute("role", "alert");
      $("dialog").prepend(first);
    }
    return $("dialog-notice");
  }
  document.body.addEventListener("htmx:beforeRequest", (event) => notice(event.detail.elt).replaceChildren());
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.isError) event.detail.target = notice(event.detail.requestConfig.elt);
  });
  document.body.addEventListener("htmx:sendError", (event) => {
    const told = notice(event.detail.elt);
    told.replaceChildren(element("p", { className: "problem" }, "The API does not answer. Nothing was done; try again."));
    told.scrollIntoView({ block: "nearest" });
  });

  // ---- charts: <figure class="chart" data-spec="...">, drawn by Vega once one is there

  let vegaLoaded = null;
  function load(src) {
    return new Promise((resolve, reject) => {
      const s = Object.assign(document.createElement("script"), { src });
      s.addEventListener("load", resolve);
      s.addEventListener("error", () => reject(new Error(`${src} can't be loaded`)));
      document.head.append(s);
    });
  }
  function needVega() {
    vegaLoaded ??= (async () => {
      for (const src of document.body.dataset.vega.split(" ")) await load(src);
    })();
    return vegaLoaded;
  }
  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  // themed gives a specification the page's text colours, which have more contrast than its own.
  function themed(spec) {
    const text = dark() ? "#c9d1d9" : "#3d444d";
    const line = dark() ? "#6e7681" : "#8c959f";
    return {
      ...spec,
      config: vega.mergeConfig({}, spec.config ?? {}, {
        axis: { labelColor: text, titleColor: text, domainColor: line, tickColor: line, gridColor: line },
        legend: { labelColor: text, titleColor: text }, title: { color: text, subtitleColor: text }, text: { color: text },
      }),
    };
  }
  const refuse = () => Promise.reject(new Error("a chart holds all that it shows"));
  const views = new Map(); // by figure
  // leave ends the charts that the page does not have any more: nobody else does, and they listen and keep their data.
  function leave() {
    for (const [figure, view] of views) {
      if (figure.isConnected) continue;
      view.finalize();
      views.delete(figure);
    }
  }
  async function draw(figure) {
    const spec = JSON.parse(figure.dataset.spec);
    const plot = figure.querySelector(".plot");
    try {
      await needVega();
      const { view } = await vegaEmbed(plot, themed(spec), {
        ast: true, actions: false, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
        loader: Object.assign(vega.loader(), { load: refuse, sanitize: refuse }),
      });
      views.get(figure)?.finalize();
      views.set(figure, view);
      if (!figure.isConnected) {
        leave(); // it went while it was drawn
        return;
      }
      if (!figure.querySelector("figcaption")) beside(figure, spec, view);
      figure.dataset.drawn = "true";
    } catch (e) {
      const p = document.createElement("p");
      p.className = "wrong";
      p.textContent = `${spec.name ?? "The chart"} can't be drawn: ${e.message}`;
      plot.replaceChildren(p);
      figure.dataset.drawn = "false";
    }
  }
  function element(tag, properties = {}, ...children) {
    const e = Object.assign(document.createElement(tag), properties);
    e.append(...children);
    return e;
  }
  // beside puts caption, data and downloads to a chart: whoever can't see it reads the data.
  function beside(figure, spec, view) {
    figure.append(element("figcaption", {}, spec.description ?? ""));
    const name = spec.name ?? "chart";
    const rows = spec.data?.values;
    if (Array.isArray(rows) && rows.length > 0) {
      const details = element("details", { className: "raw" }, element("summary", {}, "Data"));
      details.addEventListener("toggle", () => {
        if (!details.open || details.children.length > 1) return;
        const columns = Object.keys(rows[0]);
        const region = element("div", { className: "scroll", tabIndex: 0, ariaLabel: `Data of ${name}` }, element("table", {},
          element("thead", {}, element("tr", {}, ...columns.map((c) => element("th", { scope: "col" }, c)))),
          element("tbody", {}, ...rows.map((r) => element("tr", {}, ...columns.map((c) => element("td", {}, r[c] == null ? "" : String(r[c]))))))));
        region.setAttribute("role", "region");
        details.append(region);
      });
      figure.append(details);
    }
    const saves = element("p", { className: "hint" }, "Save as ");
    for (const format of ["svg", "png"]) {
      const b = element("button", { type: "button" }, format.toUpperCase());
      b.addEventListener("click", async () => {
        const url = await (views.get(figure) ?? view).toImageURL(format, 2);
        element("a", { href: url, download: `${name}.${format}` }).click();
      });
      saves.append(b, " ");
    }
    figure.append(saves);
  }
  function redraw() {
    for (const f of document.querySelectorAll("figure.chart[data-spec]")) draw(f);
  }

  function begin(root) {
    leave();
    tell(root);
    for (const f of root.querySelectorAll("figure.chart[data-spec]:not([data-drawn])")) draw(f);
  }

  // For the scripts of single pages.
  window.dawsos = { begin, draw, leave, span, duration, element };

  begin(document);
  choose();
  listen();
  show();
  setInterval(() => {
    tell();
    show();
  }, 1000);
})();
