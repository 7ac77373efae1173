"use strict";
// What the plots share: the data, the colours of the theme, and how numbers are written.
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  // A column of one value was written as that value.
  for (const curve of Object.values(data.curves)) {
    for (const [column, values] of Object.entries(curve)) {
      if (column !== "points" && !Array.isArray(values)) {
        curve[column] = new Array(curve.points).fill(values);
      }
    }
  }
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

  // Draws now, and again when the theme changes.
  function drawn(draw) {
    drawings.push(draw);
    draw();
  }
  dark.addEventListener("change", () => drawings.forEach((draw) => draw()));

  return {
    data, drawn, forms, layout, style,
    // Plotly's bar of buttons has some that would leave the page; a double click undoes a zoom.
    config: {displayModeBar: false, responsive: true},
    // Plotly reads a little HTML in its texts.
    plain: (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"),
    scaled: (values, scale) => values.map((value) => value * scale),
    written: (form, value) => (value === null ? "-" : forms[form](value)),
  };
})();
