// Calibration of the exits, and learning curves of the stages.
(() => {
  const {data, plain} = page;
  const COLOURS = {
    main: "--exit-main", extension: "--exit-extension", edge: "--exit-extension",
    cloud: "--exit-cloud",
  };
  const colour = (name) => page.style(COLOURS[name] ?? "--text");

  function reliability() {
    const most = Math.max(...Object.values(data.reliability).flatMap(({images}) => images));
    const traces = [{
      mode: "lines", x: [0, 100], y: [0, 100], hoverinfo: "skip", showlegend: false,
      line: {color: page.style("--faint"), width: 1, dash: "dash"},
    }];
    for (const [exit, {probability, right, images}] of Object.entries(data.reliability)) {
      traces.push({
        name: plain(exit), mode: "lines+markers", line: {color: colour(exit), width: 1.5},
        x: page.scaled(probability, 100), y: page.scaled(right, 100), text: images,
        marker: {
          color: colour(exit), line: {width: 0}, opacity: 0.75,
          size: images.map((number) => 5 + 15 * Math.sqrt(number / most)),
        },
        hovertemplate: "%{y:.1f} % right at probability %{x:.1f} %<br>%{text} images",
      });
    }
    const looks = page.layout("probability of the answer [%]", "right answers [%]");
    Plotly.react("reliability", traces, looks, page.config);
  }

  function learning() {
    const styles = {
      loss: {mode: "lines"}, accuracy: {mode: "lines"}, validation_accuracy: {mode: "markers"},
    };
    const plot = (id, figures, scale, title) => {
      const traces = [];
      for (const [stage, curves] of Object.entries(data.learning)) {
        for (const figure of figures.filter((name) => curves[name])) {
          const [x, y] = curves[figure];
          const of = figure === "validation_accuracy" ? `${stage}, validation` : stage;
          traces.push({
            ...styles[figure], name: plain(of), x, y: page.scaled(y, scale),
            line: {color: colour(stage), width: 1.5}, marker: {color: colour(stage), size: 7},
            hovertemplate: "%{y:.4g} at epoch %{x:.3g}",
          });
        }
      }
      Plotly.react(id, traces, page.layout("epoch", title), page.config);
    };
    plot("loss", ["loss"], 1, "training loss");
    plot("learned", ["accuracy", "validation_accuracy"], 100, "accuracy [%]");
  }

  page.drawn(reliability);
  if (document.getElementById("loss")) page.drawn(learning);
})();
