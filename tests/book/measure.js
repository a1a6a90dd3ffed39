// Run in a page: what a reader could not read, as one line each. `dark` asks for bright boxes too.
(dark) => {
  const problems = [];
  const article = document.querySelector("article") || document.body;
  const near = (e) => `${e.tagName.toLowerCase()} ${(e.textContent || e.alt || "").trim().slice(0, 40)}`;
  const box = (e) => e.getBoundingClientRect();
  const seen = (e) => { const b = box(e); return b.width > 1 && b.height > 1; };
  const scrolls = (e) => {
    for (let p = e; p && p !== article; p = p.parentElement) {
      if (["auto", "scroll"].includes(getComputedStyle(p).overflowX)) return true;
    }
    return false;
  };
  const fits = (e) => { const b = box(e); return b.left >= -1 && b.right <= innerWidth + 1; };
  const meet = (a, b) => a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 2 &&
    b.top < a.bottom - 2;
  if (document.documentElement.scrollWidth > innerWidth + 1) problems.push("the page scrolls sideways");

  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  const small = new Set();
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !e || e.closest("mjx-container, script, style, svg, sup")) continue;
    if (seen(e) && parseFloat(getComputedStyle(e).fontSize) < 11) small.add(near(e));
  }
  for (const text of small) problems.push(`small text: ${text}`);

  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    const frame = box(plot.querySelector(".main-svg"));
    const name = (plot.parentElement.querySelector(".chart-title") || {}).textContent || "a chart";
    const texts = [...plot.querySelectorAll(".main-svg text")].filter(seen);
    for (const t of texts) {
      const b = box(t);
      const size = parseFloat(getComputedStyle(t).fontSize);
      if (size < 11) problems.push(`${name}: text of ${size} px: ${t.textContent}`);
      if (b.left < frame.left - 3 || b.right > frame.right + 3 || b.bottom > frame.bottom + 3) {
        problems.push(`${name}: cut text: ${t.textContent}`);
      }
    }
    const legend = plot.querySelector(".legend .bg");
    if (legend && seen(legend)) {
      for (const t of texts) {
        if (!t.closest(".legend") && meet(box(legend), box(t))) {
          problems.push(`${name}: the legend lies on ${t.textContent}`);
        }
      }
    }
    const ticks = [...plot.querySelectorAll(".xtick text")].map(box);
    for (let i = 1; i < ticks.length; i++) {
      const flat = ticks[i].height < 24 && ticks[i - 1].height < 24;
      if (flat && meet(ticks[i - 1], ticks[i])) { problems.push(`${name}: tick labels overlap`); break; }
    }
    if (plot._fullLayout.dragmode !== false) problems.push(`${name}: dragging does something`);
    if (plot.querySelector(".modebar")) problems.push(`${name}: a mode bar`);
  }
  for (const e of article.querySelectorAll("mjx-container[display='true'], table, img, pre, .cagc-slider")) {
    if (seen(e) && !fits(e) && !scrolls(e)) problems.push(`sticks out: ${near(e)}`);
  }
  for (const e of article.querySelectorAll("img")) {
    const words = e.alt || "";
    if (words.length < 15 || /[0-9a-f]{12}/.test(words)) problems.push(`picture without words: ${words}`);
  }
  for (const e of article.querySelectorAll(".cell_output figure, .cell_output .plotly-mime")) {
    const figure = e.closest("figure:has(figcaption .caption-number)") || e.closest("figure");
    if (!figure || !/Figure \d+\.\d+/.test(figure.textContent)) problems.push(`no number: ${near(e)}`);
  }
  if (dark) {
    for (const e of article.querySelectorAll("img, svg, .text_html, .cagc-slider, figure, .plotly-mime, table")) {
      const [r, g, b, a = 1] = getComputedStyle(e).backgroundColor.match(/[\d.]+/g).map(Number);
      if (a > 0.3 && 0.2 * r + 0.7 * g + 0.1 * b > 150) problems.push(`bright box: ${near(e)}`);
    }
  }
  return [...new Set(problems)];
}
