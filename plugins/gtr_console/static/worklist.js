// The filter takes effect when it is changed; without this script its button does the same.
"use strict";
const form = document.getElementById("filter");
if (form) {
  form.addEventListener("change", (event) => {
    if (event.target.tagName === "SELECT") form.requestSubmit();
  });
  form.addEventListener("submit", () => {
    for (const one of form.querySelectorAll("select")) if (!one.value) one.disabled = true; // short addresses
  });
}
