// Confusion matrices: of main, and of the system. A cell is read by pointing at it or by keys.
(() => {
  const {data, forms, plain, style} = page;
  const count = data.classes.length;
  const status = document.getElementById("cell");
  const MOVES = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};

  function dense(cells) {
    const rows = Array.from({length: count}, () => new Array(count).fill(0));
    cells.forEach(([row, column, images]) => { rows[row][column] = images; });
    return rows;
  }

  // Beside the plot, not in Plotly's own label: that needs texts for all of a million cells.
  function tellCell(rows, row, column) {
    const sum = rows[row].reduce((a, b) => a + b, 0);
    const images = rows[row][column];
    status.textContent =
      `true ${data.classes[row]}, predicted ${data.classes[column]}: ` +
      `${images} images, ${forms.percent(sum ? images / sum : 0)} % of the class`;
  }

  function draw(name, rows) {
    const shown = count <= 20;
    const shares = rows.map((row) => {
      const sum = row.reduce((a, b) => a + b, 0);
      return row.map((images) => (sum ? images / sum : 0));
    });
    const names = data.ticks.map(plain);
    const hard = new Set(data.hard);
    const accent = (text) => `<b style="color:${style("--accent")}">${text}</b>`;
    const step = Math.ceil(count / 25);
    const tickvals = names.map((_, number) => number).filter((number) => number % step === 0);
    const ticks = {
      tickvals,
      ticktext: tickvals.map((c) => (hard.has(c) ? accent(names[c]) : names[c])),
      showgrid: false,
    };
    const looks = page.layout("predicted class", "true class");
    Plotly.react(`${name}_plot`, [{
      type: "heatmap", z: shares, zmin: 0, zmax: 1,
      // Cells smaller than a pixel would vanish; smoothed they share it.
      zsmooth: count > 200 ? "fast" : false,
      xgap: shown ? 1 : 0, ygap: shown ? 1 : 0, showscale: false,
      colorscale: [[0, style("--card")], [1, style("--cell")]],
      text: shown ? rows.map((row) => row.map((images) => (images ? String(images) : ""))) : null,
      texttemplate: shown ? "%{text}" : "",
      hoverinfo: "none",
    }], {
      ...looks,
      xaxis: {...looks.xaxis, ...ticks, constrain: "domain"},
      yaxis: {...looks.yaxis, ...ticks, autorange: "reversed", scaleanchor: "x"},
    }, page.config);
  }

  function byKey(box, rows) {
    let place = [0, 0];
    box.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      if (!move) return;
      event.preventDefault();
      place = place.map((at, axis) => Math.min(Math.max(at + move[axis], 0), count - 1));
      const [row, column] = place;
      Plotly.relayout(`${box.id}_plot`, {shapes: [{
        type: "rect", x0: column - 0.5, x1: column + 0.5, y0: row - 0.5, y1: row + 0.5,
        line: {color: style("--accent"), width: 2},
      }]});
      tellCell(rows, row, column);
    });
  }

  for (const [name, cells] of Object.entries(data.confusions)) {
    const rows = dense(cells);
    page.drawn(() => draw(name, rows));
    document.getElementById(`${name}_plot`).on("plotly_hover", ({points: [{x, y}]}) =>
      tellCell(rows, Math.round(y), Math.round(x)));
    byKey(document.getElementById(name), rows);
  }
})();
