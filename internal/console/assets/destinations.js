// The form of a new destination shows the fields of the channel that is chosen. Without scripts all of them are
// there.
"use strict";

(() => {
  const channel = document.getElementById("d-channel");
  const show = () => {
    for (const part of document.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(channel.value);
  };
  channel.addEventListener("change", show);
  show();
})();
