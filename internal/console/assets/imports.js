// The page of imports: sends the file by itself, so that it can tell how far it has come.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const form = $("import");
  if (!form) return;
  const types = { csv: "text/csv", json: "application/json", ndjson: "application/x-ndjson", jsonl: "application/x-ndjson" };
  let sending = null;

  function tell(kind, title, text) {
    const { element } = window.dawsos;
    $("result").replaceChildren(element("section", { className: kind }, element("h2", {}, title), element("p", {}, text)));
    $("result").focus();
  }
  function waiting(on) {
    $("progress").hidden = !on;
    form.querySelector("button.primary").disabled = on;
  }
  function size(bytes) {
    return bytes < 1048576 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
  }

  // show puts what the server answered, a page like this one or a problem, into this page.
  function show(text) {
    const answer = new DOMParser().parseFromString(text, "text/html");
    const result = answer.getElementById("result");
    const found = result ? [...result.childNodes] : [answer.getElementById("problem")].filter(Boolean);
    if (found.length === 0) {
      tell("problem", "The answer can't be read", "Look at the past imports below to see whether the file came in.");
      return;
    }
    $("result").replaceChildren(...found.map((n) => document.importNode(n, true)));
    const heading = $("result").querySelector("h1"); // this page has one already
    heading?.replaceWith(window.dawsos.element("h2", {}, heading.textContent));
    const history = answer.getElementById("history");
    if (history) {
      $("history").replaceWith(document.importNode(history, true));
      window.dawsos.begin($("history"));
    }
    $("result").focus();
  }

  form.addEventListener("submit", (event) => {
    const file = $("file").files[0];
    if (!file) return; // the browser says so
    event.preventDefault();
    const query = new URLSearchParams();
    for (const name of ["source", "calendar", "reason", "format"]) {
      if (form.elements[name]?.value) query.set(name, form.elements[name].value);
    }
    const type = $("format").value || types[file.name.split(".").pop().toLowerCase()];
    if (!type) {
      tell("problem", "Nothing was imported", "The file's name does not tell its format: choose one.");
      $("format").focus();
      return;
    }
    sending = new XMLHttpRequest();
    sending.open("POST", `${form.getAttribute("action")}?${query}`);
    sending.setRequestHeader("Content-Type", type);
    sending.setRequestHeader("HX-Request", "true");
    sending.upload.addEventListener("progress", (e) => {
      if (!e.lengthComputable) return;
      $("upload-bar").value = e.loaded / e.total;
      $("upload-label").textContent = `Uploading: ${size(e.loaded)} of ${size(e.total)}`;
    });
    sending.upload.addEventListener("load", () => {
      $("upload-bar").removeAttribute("value"); // how long this takes is not known
      $("upload-label").textContent = `Uploaded ${size(file.size)}; checking and loading the rows`;
    });
    sending.addEventListener("load", () => {
      waiting(false);
      show(sending.responseText);
    });
    sending.addEventListener("error", () => {
      waiting(false);
      tell("problem", "The upload broke off", "The API does not answer, or the file is larger than it takes. Nothing of an unfinished file is stored.");
    });
    sending.addEventListener("abort", () => {
      waiting(false);
      tell("note", "Stopped", "An import that had not ended has left nothing behind. Look at the past imports to see whether this one had.");
    });
    $("result").replaceChildren();
    $("upload-label").textContent = "Uploading";
    $("upload-bar").value = 0;
    waiting(true);
    sending.send(file);
  });
  $("stop").addEventListener("click", () => sending?.abort());
})();
