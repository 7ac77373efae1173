// Accuracy against the share of images sent: means over runs, within one standard deviation.
(() => {
  const {band, data, plain, scaled} = page;

  function draw(near) {
    const last = near ? 100 * page.NEAR : 100;
    const traces = [];
    const shown = [];
    for (const [name, {colour, dash, mean, standard_deviation: spread}] of Object.entries(data)) {
      // Not every share is one that a threshold of every run leads to.
      const sent = mean.flatMap((value, at) => (value === null ? [] : [at]));
      const low = sent.map((at) => mean[at] - spread[at]);
      const high = sent.map((at) => mean[at] + spread[at]);
      sent.forEach((at, place) => { if (at <= last) shown.push(low[place], high[place]); });
      traces.push(band(sent, low, high, colour));
      traces.push({
        name: plain(name), mode: "lines", line: {color: colour, width: 2, dash},
        x: sent, y: scaled(sent.map((at) => mean[at]), 100),
        text: sent.map((at) => page.forms.percent(spread[at])),
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
