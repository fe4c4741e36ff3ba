"use strict";
(() => {
  const table = document.getElementById("host-table");
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  const rest = document.getElementById("rest");
  const input = document.getElementById("filter");
  const count = document.getElementById("count");
  const more = document.getElementById("more");

  // Rows that nobody looks at are their markup alone: 20,000 as elements would take seconds. Where there are scripts, what stands
  // in the noscript behind the table is text, escaped as the whole page is.
  let order = Array.from(body.rows, (element) => ({ element })).filter((row) => row.element.cells.length === heads.length);
  for (const markup of rest ? rest.textContent.split("\n<tr>\n").slice(1) : []) order.push({ markup });

  const maker = document.createElement("template");

  function element(row) {
    if (!row.element) {
      maker.innerHTML = "<tr>" + row.markup;
      row.element = maker.content.firstElementChild;
    }
    return row.element;
  }

  const named = { amp: "&", lt: "<", gt: ">", quot: '"' };

  function plain(markup) {
    const text = markup.replace(/<[^>]*>/g, " ");
    return text.replace(/&(?:#(\d+)|(\w+));/g, (all, code, name) => (code ? String.fromCodePoint(code) : (named[name] ?? all)));
  }

  // What the cells of a row say, once somebody asks.
  function cells(row) {
    row.cells ??= row.element
      ? Array.from(row.element.cells, (cell) => cell.textContent.trim())
      : row.markup.split(/<t[hd][^>]*>/).slice(1).map((cell) => plain(cell).trim());
    return row.cells;
  }

  function says(row, word) {
    row.text ??= cells(row).join("\n").toLowerCase();
    return row.text.includes(word);
  }

  // Of the rows that are found, the first are on the screen. Printed are all.
  const step = 100;
  let limit = step;
  let printing = false;
  let timer = 0;

  function hosts(n) {
    return n.toLocaleString("en") + (n === 1 ? " host" : " hosts");
  }

  // Whether these rows stand there already: to lay them out again would take as long as the first time.
  function stands(rows) {
    return body.rows.length === rows.length && rows.every((row, i) => row === body.rows[i]);
  }

  function show() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length ? order.filter((row) => words.every((word) => says(row, word))) : order;
    const shown = (printing ? found : found.slice(0, limit)).map(element);
    if (order.length && !stands(shown)) {
      const rows = document.createDocumentFragment();
      for (const row of shown) rows.append(row);
      body.replaceChildren(rows);
    }
    const left = found.length > limit ? `, the first ${limit.toLocaleString("en")} are shown` : "";
    count.textContent = (words.length ? `${found.length.toLocaleString("en")} of ` : "") + hosts(order.length) + left;
    more.hidden = !left;
  }

  function filter() {
    limit = step;
    show();
  }

  function paper(on) {
    if (printing === on) return;
    printing = on;
    show();
  }

  addEventListener("beforeprint", () => paper(true));
  addEventListener("afterprint", () => paper(false));
  matchMedia("print").addEventListener("change", (e) => paper(e.matches));

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
    order.sort((a, b) => (down ? -1 : 1) * compare(cells(a)[column], cells(b)[column]));
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
})();
