"use strict";
(() => {
  const table = document.getElementById("host-table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const input = document.getElementById("filter");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const total = rows.length.toLocaleString("en");

  // Laying out a row costs far more than looking at it: of the rows that are found, only the first are on the screen.
  // Printed are all.
  const step = 500;
  let limit = step;
  let order = rows;
  let timer = 0;
  const texts = new Map(); // what rows say, once somebody searches

  function says(row, word) {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row).includes(word);
  }

  function show() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const row of order) {
      const hit = words.every((w) => says(row, w));
      if (hit) found++;
      if (row.hidden === hit) row.hidden = !hit;
      row.classList.toggle("later", hit && found > limit);
    }
    const rest = found > limit ? `, the first ${limit.toLocaleString("en")} are shown` : "";
    count.textContent = (words.length ? `${found.toLocaleString("en")} of ${total} hosts` : `${total} hosts`) + rest;
    more.hidden = !rest;
  }

  function filter() {
    limit = step;
    show();
  }

  more.addEventListener("click", () => {
    limit *= 2;
    show();
  });
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
    const keyed = order.map((row) => [row.cells[column].textContent.trim(), row]);
    keyed.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
    order = keyed.map((k) => k[1]);
    const all = document.createDocumentFragment();
    for (const row of order) all.append(row);
    body.append(all);
    show();
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
  show();
  table.classList.add("ready");
})();
