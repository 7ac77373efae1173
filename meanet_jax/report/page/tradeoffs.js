// Accuracy against offloads and energy, and the slider over operating points.
(() => {
  const {NEAR, data, padded, plain, scaled, style, written} = page;
  const select = document.getElementById("system");
  const slider = document.getElementById("point");
  const plots = {
    offload: {column: "fraction_cloud", scale: 100, title: "images sent to the cloud [%]"},
    energy: {column: "energy_mj", scale: 1, title: data.energy},
  };
  // A column of one value was written as that value.
  for (const curve of Object.values(data.curves)) {
    for (const [column, values] of Object.entries(curve)) {
      if (column !== "points" && !Array.isArray(values)) {
        curve[column] = new Array(curve.points).fill(values);
      }
    }
  }

  function range({column, scale}, near) {
    const swept = Object.values(data.curves);
    const points = swept.flatMap((curve) => curve[column].filter(
      (_, at) => !near || curve.fraction_cloud[at] <= NEAR));
    for (const system of Object.values(data.systems)) {
      if (!near || system.fraction_cloud <= NEAR) points.push(system[column]);
    }
    return padded(points, scale);
  }

  function heights(near) {
    const shown = [];
    for (const [name, curve] of Object.entries(data.curves)) {
      curve.fraction_cloud.forEach((sent, at) => {
        if (near && sent > NEAR) return;
        shown.push(curve.accuracy[at]);
        if (name === select.value) shown.push(curve.low[at], curve.high[at]);
      });
    }
    for (const system of Object.values(data.systems)) {
      if (!near || system.fraction_cloud <= NEAR) {
        shown.push(system.accuracy, ...(system.interval ?? []));
      }
    }
    return padded(shown, 100);
  }

  // Symbols that meet are of different sizes, the largest behind.
  function sizes(id, {column, scale}, [left, right], [bottom, top]) {
    const {clientWidth, clientHeight} = document.getElementById(id);
    const placed = [];
    const found = {};
    for (const [name, system] of Object.entries(data.systems)) {
      // Axes and legend take a part of the box.
      const x = (system[column] * scale - left) / (right - left) * 0.8 * clientWidth;
      const y = (system.accuracy * 100 - bottom) / (top - bottom) * 0.6 * clientHeight;
      const taken = placed.filter((o) => Math.hypot(o.x - x, o.y - y) < 12).map((o) => o.size);
      let size = 9;
      while (taken.some((other) => Math.abs(other - size) < 6)) size += 6;
      placed.push({x, y, size});
      found[name] = size;
    }
    return found;
  }

  function traces(plot, sized) {
    const {column, scale} = plot;
    const result = [];
    if (select.value) {
      const {[column]: x, low, high} = data.curves[select.value];
      result.push(page.band(scaled(x, scale), low, high, data.systems[select.value].colour));
    }
    const hover = (name) =>
      "%{y:.2f} % accurate at %{x:.4g}%{text}<extra>" + plain(name) + "</extra>";
    for (const [name, curve] of Object.entries(data.curves)) {
      const {colour, dash} = data.systems[name];
      result.push({
        name: plain(name), mode: "lines", line: {color: colour, width: 2, dash}, showlegend: false,
        x: scaled(curve[column], scale), y: scaled(curve.accuracy, 100), hovertemplate: hover(name),
        text: curve.threshold_main.map((value) => `<br>threshold ${written("number", value)}`),
      });
    }
    const names = Object.keys(data.systems).sort((a, b) => sized[b] - sized[a]);
    for (const name of names) {
      const system = data.systems[name];
      result.push({
        name: plain(name), mode: "markers", hovertemplate: hover(name),
        legendrank: Object.keys(data.systems).indexOf(name),
        text: data.curves[name] ? "<br>selected" : "",
        marker: {
          color: system.colour, size: sized[name], symbol: system.symbol + "-open",
          line: {width: 2, color: system.colour},
        },
        error_y: system.interval && {
          type: "data", symmetric: false, color: system.colour, thickness: 1, width: 4,
          array: [(system.interval[1] - system.accuracy) * 100],
          arrayminus: [(system.accuracy - system.interval[0]) * 100],
        },
        x: [system[column] * scale], y: [system.accuracy * 100],
      });
    }
    if (select.value) {
      result.push({
        mode: "markers", name: "slider", hoverinfo: "skip", x: [], y: [], showlegend: false,
        marker: {color: style("--text"), size: 6, symbol: "diamond"},
      });
    }
    return result;
  }

  function draw(near) {
    const tall = heights(near);
    for (const [id, plot] of Object.entries(plots)) {
      const wide = range(plot, near);
      const looks = page.layout(plot.title, "accuracy [%]");
      Plotly.react(id, traces(plot, sizes(id, plot, wide, tall)), {
        ...looks,
        legend: {...looks.legend, itemsizing: "constant"},
        xaxis: {...looks.xaxis, range: wide},
        yaxis: {...looks.yaxis, range: tall},
      }, page.config);
    }
    const outside = Object.entries(data.systems)
      .filter(([, system]) => near && system.fraction_cloud > NEAR)
      .map(([name, system]) =>
        `${name} (${page.forms.percent(system.fraction_cloud)} % sent, ` +
        `${page.forms.percent(system.accuracy)} % accurate)`);
    document.getElementById("outside").textContent =
      outside.length ? `Not shown: ${outside.join(", ")}` : "";
    moveMarkers();
  }

  function moveMarkers() {
    if (!select.value) return;
    const curve = data.curves[select.value];
    const at = Number(slider.value);
    for (const [id, {column, scale}] of Object.entries(plots)) {
      const last = document.getElementById(id).data.length - 1;
      Plotly.restyle(
        id, {x: [[curve[column][at] * scale]], y: [[curve.accuracy[at] * 100]]}, [last],
      );
    }
  }

  let frame = 0;

  function showPoint() {
    const curve = data.curves[select.value];
    const at = Number(slider.value);
    for (const output of document.querySelectorAll("[data-field]")) {
      const field = output.dataset.field;
      const value = curve[field][at];
      output.dataset.value = String(value);
      output.textContent = written(output.dataset.form, value);
      output.closest("div").hidden = data.systems[select.value].unused.includes(field);
    }
    for (const part of document.querySelectorAll("[data-share]")) {
      part.style.width = `${100 * curve[`fraction_${part.dataset.share}`][at]}%`;
    }
    const place = `operating point ${at + 1} of ${curve.chosen.length}`;
    document.getElementById("place").textContent =
      curve.chosen[at] ? `${place}: the one selected on validation` : place;
    slider.setAttribute("aria-valuetext", `${place}: ${written("percent", curve.accuracy[at])} % ` +
      `accurate, ${written("percent", curve.fraction_cloud[at])} % sent`);
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(moveMarkers);
  }

  function toChosen() {
    const {chosen} = data.curves[select.value];
    slider.max = chosen.length - 1;
    slider.value = chosen.indexOf(1);
    showPoint();
  }

  Object.keys(data.curves).forEach((name) => select.add(new Option(name)));
  slider.addEventListener("input", showPoint);
  document.getElementById("chosen").addEventListener("click", toChosen);
  if (select.value) toChosen();
  const redraw = page.nearOrFar(draw);
  select.addEventListener("change", () => { toChosen(); redraw(); });
})();
