// Accuracy against the share of images sent: means over runs, within one standard deviation.
(() => {
  const {band, data, plain, scaled} = page;

  function draw(near) {
    const last = near ? 100 * page.NEAR : 100;
    const traces = [];
    const shown = [];
    for (const [name, {colour, dash, mean, standard_deviation: spread}] of Object.entries(data)) {
      const sent = mean.map((_, at) => at);
      const low = mean.map((value, at) => value - spread[at]);
      const high = mean.map((value, at) => value + spread[at]);
      shown.push(...low.slice(0, last + 1), ...high.slice(0, last + 1));
      traces.push(band(sent, low, high, colour));
      traces.push({
        name: plain(name), mode: "lines", line: {color: colour, width: 2, dash},
        x: sent, y: scaled(mean, 100),
        text: spread.map((value) => page.forms.percent(value)),
        hovertemplate: "%{y:.2f} ± %{text} % accurate at %{x} % sent<extra>" + plain(name) + "</extra>",
      });
    }
    const looks = page.layout("images sent to the cloud [%]", "accuracy [%]");
    Plotly.react("offload", traces, {
      ...looks,
      xaxis: {...looks.xaxis, range: page.padded([0, last], 1)},
      yaxis: {...looks.yaxis, range: page.padded(shown, 100)},
    }, page.config);
  }

  page.nearOrFar(draw);
})();
