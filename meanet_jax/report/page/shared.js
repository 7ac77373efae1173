"use strict";
// What the plots share: the data, the colours of the theme, and how numbers are written.
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NEAR = 0.25; // the share of images sent up to which the plots show at first
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // On a touch screen a finger that moves over a plot scrolls the page.
  const touch = matchMedia("(pointer: coarse)").matches;
  const drawings = [];
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const forms = {
    percent: (value) => (100 * value).toFixed(2),
    number: (value) => value.toLocaleString("en", {maximumSignificantDigits: 4}),
    count: (value) =>
      value.toLocaleString("en", {maximumSignificantDigits: 4, notation: "compact"}),
  };

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

  // From the least to the most of some values, a little wider.
  function padded(values, scale) {
    const [low, high] = [Math.min(...values) * scale, Math.max(...values) * scale];
    const pad = 0.06 * (high - low) || 1;
    return [low - pad, high + pad];
  }

  // Between two lines of shares, in a colour that lets what is behind be seen.
  function band(x, low, high, colour) {
    return {
      mode: "lines", fill: "toself", hoverinfo: "skip", showlegend: false, name: "band",
      fillcolor: colour + "2e", line: {width: 0, color: colour},
      x: [...x, ...x.slice().reverse()],
      y: [...high, ...low.slice().reverse()].map((value) => 100 * value),
    };
  }

  // Draws up to NEAR or all, as the two buttons say, and again when the theme changes.
  function nearOrFar(draw) {
    const buttons = {near: document.getElementById("near"), far: document.getElementById("far")};
    let near = true;
    const show = (isNear) => {
      near = isNear;
      buttons.near.setAttribute("aria-pressed", String(near));
      buttons.far.setAttribute("aria-pressed", String(!near));
      draw(near);
    };
    buttons.near.addEventListener("click", () => show(true));
    buttons.far.addEventListener("click", () => show(false));
    drawn(() => draw(near));
    return () => draw(near);
  }

  // Draws now, and again when the theme changes.
  function drawn(draw) {
    drawings.push(draw);
    draw();
  }
  dark.addEventListener("change", () => drawings.forEach((draw) => draw()));

  return {
    NEAR, band, data, drawn, forms, layout, nearOrFar, padded, style,
    // Plotly's bar of buttons has some that would leave the page; a double click undoes a zoom.
    config: {displayModeBar: false, responsive: true},
    // Plotly reads a little HTML in its texts.
    plain: (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"),
    scaled: (values, scale) => values.map((value) => value * scale),
    written: (form, value) => (value === null ? "-" : forms[form](value)),
  };
})();
