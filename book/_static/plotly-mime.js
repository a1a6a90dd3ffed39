// Draws every stored plotly figure of the page, in the page's own text colour, light or dark.
document.addEventListener("DOMContentLoaded", () => {
  const colour = () => getComputedStyle(document.body).color;
  const drawn = [];
  for (const holder of document.querySelectorAll("div.plotly-mime")) {
    const figure = JSON.parse(holder.querySelector("script").textContent);
    const layout = { ...figure.layout, autosize: true };
    layout.font = { ...layout.font, color: colour() };
    const target = document.createElement("div");
    holder.appendChild(target);
    const options = { responsive: true, displaylogo: false };
    Plotly.newPlot(target, figure.data, layout, options).then(() => {
      if (figure.frames && figure.frames.length) Plotly.addFrames(target, figure.frames);
    });
    drawn.push(target);
  }
  new MutationObserver(() => {
    for (const target of drawn) Plotly.relayout(target, { "font.color": colour() });
  }).observe(document.documentElement, { attributeFilter: ["data-theme"] });
});
