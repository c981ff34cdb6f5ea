"use strict";

(function () {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function setTheme(name) {
    root.dataset.theme = name;
    draw();
  }

  function color(name) {
    return getComputedStyle(root).getPropertyValue("--" + name).trim();
  }

  // Figures name colours "$name"; the theme says what they are.
  function themed(value) {
    if (typeof value === "string") return value[0] === "$" ? color(value.slice(1)) : value;
    if (Array.isArray(value)) return value.map(themed);
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item)]));
    }
    return value;
  }

  function axis(own) {
    const common = {
      gridcolor: color("line"), linecolor: color("line"), zerolinecolor: color("line"),
      automargin: true, ticks: "outside", tickcolor: color("line"),
    };
    return Object.assign(common, own);
  }

  function draw(width) {
    for (const data of document.querySelectorAll("script[data-chart]")) {
      const place = document.getElementById(data.dataset.chart);
      const figure = themed(JSON.parse(data.textContent));
      const narrow = (width || place.clientWidth) < 620;
      const entries = Math.ceil(figure.data.length / (narrow ? 1 : 2));
      const height = figure.height + 18 * entries;
      const margin = { l: 60, r: 16, t: 24, b: (narrow ? 76 : 66) + 20 * entries };
      const layout = Object.assign({}, figure.layout, {
        xaxis: axis(figure.layout.xaxis),
        yaxis: axis(figure.layout.yaxis),
        height: height,
        width: width,
        autosize: width === undefined,
        margin: margin,
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: color("ink") },
        hoverlabel: { align: "left", bgcolor: color("card"), bordercolor: color("line"), font: { color: color("ink") } },
        modebar: { bgcolor: "rgba(0,0,0,0)", color: color("soft"), activecolor: color("ink") },
        legend: { orientation: "h", y: (narrow ? -70 : -60) / (height - margin.t - margin.b), yanchor: "top", x: 0, font: { size: 11.5 } },
      });
      Plotly.react(place, figure.data, layout, {
        responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
        showSendToCloud: false, plotlyServerURL: "",  // nothing leaves this page
        toImageButtonOptions: { filename: data.dataset.chart, scale: 2 },
      });
    }
  }

  function order(cell) {
    const given = cell.dataset.order;
    const text = given === undefined ? cell.textContent.trim() : given;
    const number = Number(text);
    return text === "" || text === "–" || text === "None" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }

  function sortBy(heading) {
    const table = heading.closest("table");
    const column = heading.cellIndex;
    const now = heading.getAttribute("aria-sort");
    const first = heading.classList.contains("number") ? "descending" : "ascending";
    const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const rows = Array.from(table.tBodies[0].rows, (row) => [order(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);  // missing values last, whichever way
      return sign * compare(a, b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  function filter(input) {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const table = input.closest(".filter").nextElementSibling.querySelector("table");
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  }

  document.addEventListener("click", (event) => {
    const heading = event.target.closest("table.sortable th");
    if (heading) sortBy(heading);
  });
  document.addEventListener("input", (event) => {
    if (event.target.closest(".filter")) filter(event.target);
  });
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  });
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));

  let before = null;
  window.addEventListener("beforeprint", () => {
    before = { theme: root.dataset.theme, closed: document.querySelectorAll("details:not([open])") };
    before.closed.forEach((part) => { part.open = true; });
    root.dataset.theme = "light";
    draw(680);  // as wide as a printed page
  });
  window.addEventListener("afterprint", () => {
    if (!before) return;
    before.closed.forEach((part) => { part.open = false; });
    setTheme(before.theme);
  });

  setTheme(dark.matches ? "dark" : "light");
})();
