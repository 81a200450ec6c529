// The editor of alert rules: what the server finds wrong while one types also marks the field, for those who
// don't see the words beside it.
"use strict";

document.body.addEventListener("htmx:afterSettle", () => {
  for (const said of document.querySelectorAll("#rule-form [id^='w-']")) {
    for (const field of document.querySelectorAll(`#rule-form [aria-describedby="${said.id}"]`)) {
      if (said.classList.contains("wrong") && said.textContent) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
    }
  }
});
