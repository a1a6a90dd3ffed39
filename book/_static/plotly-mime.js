// Draws every stored plotly figure of the page, in the page's own text colour, light or dark. The
// title is text above the drawing, where it wraps on a narrow screen instead of being cut.
document.addEventListener("DOMContentLoaded", () => {
  const colour = () => getComputedStyle(document.body).color;
  const drawn = [];
  for (const holder of document.querySelectorAll("div.plotly-mime")) {
    const figure = JSON.parse(holder.querySelector("script").textContent);
    const layout = { ...figure.layout, autosize: true, dragmode: false };
    const title = layout.title && (layout.title.text || layout.title);
    if (typeof title === "string") {
      const line = document.createElement("p");
      line.className = "chart-title";
      line.innerHTML = title.replaceAll("<", "&lt;").replaceAll("&lt;br>", "<br>");
      holder.appendChild(line);
    }
    layout.title = undefined;
    layout.margin = { ...layout.margin, t: layout.annotations || layout.xaxis2 ? 40 : 16 };
    layout.font = { ...layout.font, color: colour() };
    const target = document.createElement("div");
    holder.appendChild(target);
    const options = { responsive: true, displayModeBar: false };
    Plotly.newPlot(target, figure.data, layout, options).then(() => {
      if (figure.frames && figure.frames.length) Plotly.addFrames(target, figure.frames);
    });
    drawn.push(target);
  }
  new MutationObserver(() => {
    for (const target of drawn) Plotly.relayout(target, { "font.color": colour() });
  }).observe(document.documentElement, { attributeFilter: ["data-theme"] });
});
