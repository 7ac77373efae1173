"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const select = document.getElementById("system");
  const slider = document.getElementById("point");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // On a touch screen a finger that moves over a plot scrolls the page.
  const touch = matchMedia("(pointer: coarse)").matches;
  // Plotly's bar of buttons has some that would leave the page; a double click undoes a zoom.
  const config = {displayModeBar: false, responsive: true};
  const plots = {
    offload: {column: "fraction_cloud", scale: 100, title: "images sent to the cloud [%]"},
    energy: {column: "energy_mj", scale: 1, title: "edge energy per image [mJ]"},
  };
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Plotly reads a little HTML in its texts.
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const scaled = (values, scale) => values.map((value) => value * scale);

  const forms = {
    percent: (value) => (100 * value).toFixed(2),
    number: (value) => value.toLocaleString("en", {maximumSignificantDigits: 4}),
    count: (value) =>
      value.toLocaleString("en", {maximumSignificantDigits: 4, notation: "compact"}),
  };

  const written = (form, value) => (value === null ? "-" : forms[form](value));

  function layout(x, y) {
    const axis = {
      automargin: true, gridcolor: style("--line"), linecolor: style("--line"), zeroline: false,
    };
    return {
      autosize: true,
      dragmode: touch ? false : "zoom",
      font: {color: style("--text"), family: "system-ui, sans-serif", size: 12},
      hovermode: "closest",
      legend: {orientation: "h", y: -0.25, yanchor: "top"},
      margin: {l: 10, r: 10, t: 10, b: 10},
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: {...axis, title: {text: x}},
      yaxis: {...axis, title: {text: y}},
    };
  }

  function traces({column, scale}) {
    const colours = style("--series").split(",").map((colour) => colour.trim());
    const result = [];
    Object.keys({...data.curves, ...data.systems}).forEach((name, number) => {
      const color = colours[number % colours.length];
      const system = data.systems[name];
      const curve = data.curves[name];
      const common = {
        name: plain(name), legendgroup: name,
        hovertemplate: "%{y:.2f} % accurate at %{x:.4g}%{text}<extra>" + plain(name) + "</extra>",
      };
      if (curve) {
        result.push({
          ...common, mode: "lines", line: {color, width: 2},
          x: scaled(curve[column], scale), y: scaled(curve.accuracy, 100),
          text: curve.threshold_main.map((value) => `<br>threshold ${written("number", value)}`),
        });
      }
      result.push({
        ...common, mode: "markers", showlegend: !curve, text: curve ? "<br>selected" : "",
        marker: {color, size: curve ? 11 : 10, symbol: curve ? "circle" : "square"},
        x: [system[column] * scale], y: [system.accuracy * 100],
      });
    });
    if (select.value) {
      result.push({
        mode: "markers", name: "slider", hoverinfo: "skip", x: [], y: [],
        marker: {color: style("--text"), size: 17, symbol: "diamond-open", line: {width: 3}},
      });
    }
    return result;
  }

  function drawConfusion() {
    const count = data.classes.length;
    const shown = count <= 20;
    const cells = Array.from({length: count}, () => new Array(count).fill(0));
    data.cells.forEach(([row, column, images]) => { cells[row][column] = images; });
    const shares = cells.map((row) => {
      const sum = row.reduce((a, b) => a + b, 0);
      return row.map((images) => (sum ? images / sum : 0));
    });
    const names = data.classes.map(plain);
    const hard = new Set(data.hard);
    const colour = style("--series").split(",")[0];
    const accent = (name) => `<b style="color:${colour}">${name}</b>`;
    const step = Math.ceil(count / 25);
    const tickvals = names.map((_, number) => number).filter((number) => number % step === 0);
    const ticks = {
      tickvals,
      ticktext: tickvals.map((c) => (hard.has(c) ? accent(names[c]) : names[c])),
      showgrid: false,
    };
    const looks = layout("predicted class", "true class");
    Plotly.react("confusion", [{
      type: "heatmap", z: shares, zmin: 0, zmax: 1,
      // Cells smaller than a pixel would vanish; smoothed they share it.
      zsmooth: count > 200 ? "fast" : false,
      xgap: shown ? 1 : 0, ygap: shown ? 1 : 0, showscale: false,
      colorscale: [[0, style("--card")], [1, style("--cell")]],
      text: shown ? cells.map((row) => row.map((images) => (images ? String(images) : ""))) : null,
      texttemplate: shown ? "%{text}" : "",
      hoverinfo: "none",
    }], {
      ...looks,
      xaxis: {...looks.xaxis, ...ticks, constrain: "domain"},
      yaxis: {...looks.yaxis, ...ticks, autorange: "reversed", scaleanchor: "x"},
    }, config);
  }

  // Beside the plot, not in Plotly's own label: that needs texts for all of a million cells.
  function tellCell({points: [{x, y, z}]}) {
    const [row, column] = [Math.round(y), Math.round(x)];
    const cell = data.cells.find(([r, c]) => r === row && c === column);
    document.getElementById("cell").textContent =
      `true ${data.classes[row]}, predicted ${data.classes[column]}: ` +
      `${cell ? cell[2] : 0} images, ${forms.percent(z)} % of the class`;
  }

  function draw() {
    for (const [id, plot] of Object.entries(plots)) {
      Plotly.react(id, traces(plot), layout(plot.title, "accuracy [%]"), config);
    }
    drawConfusion();
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
    slider.setAttribute("aria-valuetext", place);
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
  select.addEventListener("change", toChosen);
  slider.addEventListener("input", showPoint);
  document.getElementById("chosen").addEventListener("click", toChosen);
  if (select.value) toChosen();
  dark.addEventListener("change", draw);
  draw();
  document.getElementById("confusion").on("plotly_hover", tellCell);
})();
