"use strict";
(() => {
  const table = document.getElementById("host-table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const input = document.getElementById("filter");
  const count = document.getElementById("count");
  const total = rows.length.toLocaleString("en");
  document.documentElement.classList.add("script");

  // Filtering. What rows say is read once; a keystroke changes only the rows that come or go.
  let texts = null;
  let timer = 0;

  function filter() {
    texts ??= rows.map((row) => row.textContent.toLowerCase());
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      const hidden = !words.every((w) => texts[i].includes(w));
      if (row.hidden !== hidden) row.hidden = hidden;
      if (!hidden) shown++;
    });
    count.textContent = `${shown.toLocaleString("en")} of ${total} hosts`;
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 150);
  });
  document.getElementById("filter-form").addEventListener("submit", (e) => e.preventDefault());
  for (const button of document.querySelectorAll("button[data-filter]")) {
    button.addEventListener("click", () => {
      input.value = button.dataset.filter;
      filter();
      document.getElementById("hosts").scrollIntoView();
      input.focus({ preventScroll: true });
    });
  }

  // Sorting. Every head becomes a button; rows that are equal stay as they are.
  const compare = new Intl.Collator("en", { numeric: true }).compare;

  function sort(column) {
    const head = heads[column];
    const down = head.getAttribute("aria-sort") === "ascending";
    const keyed = Array.from(body.rows, (row) => [row.cells[column].textContent.trim(), row]);
    keyed.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
    body.replaceChildren(...keyed.map((k) => k[1]));
    for (const h of heads) h.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
  });
  heads[0].setAttribute("aria-sort", "ascending");
  count.textContent = `${total} hosts`;
})();
