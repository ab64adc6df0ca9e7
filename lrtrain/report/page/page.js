"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function themed(layout) {
  const night = dark.matches && !printing;
  const axis = { gridcolor: night ? "#30363d" : "#e3e7eb", zerolinecolor: night ? "#6e7681" : "#8c959f" };
  return {
    margin: { l: 60, r: 16, t: 16, b: 48 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: night ? "#e6edf3" : "#1f2328", family: "system-ui, sans-serif" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: night ? "#6e7681" : "#8c959f", activecolor: night ? "#e6edf3" : "#1f2328" },
    template: { layout: { xaxis: axis, yaxis: axis } },
    ...layout,
  };
}

function draw(place, figure) {
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  return Plotly.react(place, figure.data, themed(figure.layout), config);
}

function pale(colour) {
  return `rgba(${[1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16))}, 0.17)`;
}

/** The lines of a choice: a band and its median for each strategy, or all its runs as one line with gaps. */
function curves(drawn, form) {
  const { metric, clock, runs } = Object.fromEntries(new FormData(form));
  const shown = new FormData(form).getAll("strategy").map(Number);
  const data = [];
  for (const [name, axis] of [["lr", "y2"], [metric, "y"]]) {
    const shape = name === "lr" ? "hv" : "linear";
    for (const place of shown) {
      const [colour, dash] = drawn.styles[place];
      const trace = { type: "scatter", mode: "lines", yaxis: axis, name: drawn.names[place] };
      if (runs === "bands") {
        const band = drawn.bands[place][name]?.[clock];
        if (!band) continue;
        const [x, median, low, high] = band;
        const edge = { ...trace, x, line: { width: 0, shape }, hoverinfo: "skip" };
        data.push({ ...edge, y: low }, { ...edge, y: high, fill: "tonexty", fillcolor: pale(colour) });
        const mode = x.length > 1 ? "lines" : "markers";
        data.push({ ...trace, mode, x, y: median, marker: { color: colour }, line: { color: colour, dash, shape, width: 2 }, hovertemplate: "%{y:.4g}" });
      } else {
        const x = [], y = [], text = [];
        for (const run of drawn.runs) {
          if (run.strategy !== place || !run.series[name] || (runs === "best" && !run.best)) continue;
          const [steps, values] = run.series[name].map((list) => drawn.lists[list]);
          for (let at = 0; at < steps.length; at++) {
            x.push(steps[at] * run.clocks[clock]);
            y.push(values[at]);
            text.push(run.name);
          }
          x.push(null), y.push(null), text.push(null);
        }
        data.push({ ...trace, x, y, text, opacity: 0.5, line: { color: colour, dash, shape, width: 1 }, hovertemplate: "%{text}<br>%{y:.4g}<extra></extra>" });
      }
    }
  }
  const bands = runs === "bands";
  return {
    data,
    layout: {
      height: 560,
      showlegend: false,
      hovermode: bands ? "x unified" : "closest",
      xaxis: { title: { text: clock }, anchor: "y" },
      yaxis: { title: { text: metric }, domain: [0, 0.62], type: form.log.checked ? "log" : "linear" },
      yaxis2: { title: { text: "learning rate" }, domain: [0.68, 1], rangemode: "tozero", exponentformat: "power" },
      uirevision: clock,
    },
  };
}

/** Whether a metric is best seen on a logarithmic axis. */
function wantsLog(drawn, metric) {
  const values = drawn.bands.flatMap((bands) => bands[metric]?.epochs?.[1] ?? []).filter((value) => value !== null);
  return values.length > 0 && Math.min(...values) > 0 && Math.max(...values) > 5 * Math.min(...values);
}

function sortable(table) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const text = row.cells[column].textContent;
    return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
  };
  for (const row of body.rows)
    for (const cell of row.cells) cell.classList.toggle("number", cell.textContent !== "" && !Number.isNaN(Number(cell.textContent)));
  for (const cell of body.rows[0]?.cells ?? []) heads[cell.cellIndex].className = cell.className;
  heads.forEach((head, column) =>
    head.firstElementChild.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      rows.sort(([one], [other]) => {
        if (one === null || other === null) return (one === null) - (other === null);
        const numbers = typeof one === "number" && typeof other === "number";
        const order = numbers ? one - other : String(one).localeCompare(String(other), undefined, { numeric: true });
        return up ? order : -order;
      });
      body.append(...rows.map(([, row]) => row));
    }),
  );
}

/** Every word must be in a row: in any cell, or as key=value in the cell of its column. */
function filterable(table, form) {
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  const holds = (row, word) => {
    const [key, wanted] = word.split("=");
    const column = wanted === undefined ? -1 : heads.indexOf(key);
    return column < 0 ? row.textContent.toLowerCase().includes(word) : row.cells[column].textContent.toLowerCase() === wanted;
  };
  const filter = () => {
    const words = form.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = (form.status.value && row.dataset.status !== form.status.value) || !words.every((word) => holds(row, word));
      count += !row.hidden;
    }
    form.shown.value = `${count} of ${table.tBodies[0].rows.length}`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

async function show() {
  const library = document.createElement("script");
  library.textContent = await unpack("plotly");
  document.head.append(library);
  const sections = JSON.parse(await unpack("drawn"));
  const redraws = [];
  for (const section of document.querySelectorAll("[data-section]")) {
    const drawn = sections[section.dataset.section];
    for (const place of section.querySelectorAll("[data-figure]")) {
      const name = place.dataset.figure;
      if (name !== "curves") {
        redraws.push(() => draw(place, structuredClone(drawn.figures[name])));
        continue;
      }
      const form = section.querySelector("form");
      const scale = () => (form.log.checked = wantsLog(drawn, form.metric.value));
      form.metric.addEventListener("change", scale);
      form.addEventListener("change", () => draw(place, curves(drawn, form)));
      for (const button of form.querySelectorAll("button"))
        button.addEventListener("click", () => {
          form.querySelectorAll("[name=strategy]").forEach((each) => (each.checked = button.name === "all"));
          draw(place, curves(drawn, form));
        });
      scale();
      redraws.push(() => draw(place, curves(drawn, form)));
    }
  }
  const redraw = () => redraws.forEach((each) => each());
  redraw();
  dark.addEventListener("change", redraw);
  for (const [event, now] of [["beforeprint", true], ["afterprint", false]])
    addEventListener(event, () => {
      printing = now;
      redraw();
    });
}

for (const table of document.querySelectorAll("table.jobs")) {
  sortable(table);
  filterable(table, [...table.closest("section").querySelectorAll("form")].at(-1));
}
show();
