// The cut through the map along the row of the cross, with its error bars as a ribbon.
const drawCut = () => {
  const place = one(".cut"), [width, height] = detail.size, layer = layerShown(), [column, row] = chosen.cross;
  const wide = Math.max(200, place.clientWidth), tall = 138, left = 48, right = 4, above = 8, below = 20;
  const top = topShown(false) || 1, reach = Math.min(3 * top, 1.04 * Math.max(top, layer.reach));
  const x = (at) => (left + ((wide - left - right) * at) / width).toFixed(1);
  const y = (value) => {
    const inside = Math.max(-reach, Math.min(reach, value));
    return (above + (tall - above - below) * (0.5 - inside / reach / 2)).toFixed(1);
  };
  let upper = "", lower = "", line = "", marks = "";
  for (let at = 0; at < width; at++) {
    const value = layer.values[row * width + at], half = Z * layer.errors[row * width + at];
    upper += `L${x(at)} ${y(value + half)}L${x(at + 1)} ${y(value + half)}`;
    lower = `L${x(at + 1)} ${y(value - half)}L${x(at)} ${y(value - half)}${lower}`;
    line += `${at ? "L" : "M"}${x(at)} ${y(value)}L${x(at + 1)} ${y(value)}`;
    if (layer.significant[row * width + at] && width <= 128)
      marks += `<circle class="${value > 0 ? "up" : "down"}" cx="${x(at + 0.5)}" cy="${y(value)}" r="3"/>`;
  }
  const value = layer.values[row * width + column], half = Z * layer.errors[row * width + column];
  const ticks = (topShown(false) ? [top, -top] : []).map((tick) =>
    `<line class="grid" x1="${left}" x2="${wide - right}" y1="${y(tick)}" y2="${y(tick)}"/>` +
    `<text x="${left - 6}" y="${+y(tick) + 4}" text-anchor="end">${plus(tick, short(tick))}</text>`);
  place.innerHTML = `<svg height="${tall}" viewBox="0 0 ${wide} ${tall}" aria-hidden="true">` +
    `<path class="ribbon" d="M${upper.slice(1)}${lower}Z"/>${ticks.join("")}` +
    `<line class="zero" x1="${left}" x2="${wide - right}" y1="${y(0)}" y2="${y(0)}"/>` +
    `<text x="${left - 6}" y="${+y(0) + 4}" text-anchor="end">0</text><path class="line" d="${line}"/>${marks}` +
    `<line class="bar" x1="${x(column + 0.5)}" x2="${x(column + 0.5)}" y1="${y(value - half)}" y2="${y(value + half)}"/>` +
    `<circle class="at" cx="${x(column + 0.5)}" cy="${y(value)}" r="5"/>` +
    `<text x="${left}" y="${tall - 4}">left edge</text>` +
    `<text x="${wide - right}" y="${tall - 4}" text-anchor="end">right edge</text></svg>`;
  one(".cutname").textContent = `Cut through the map along row ${row + 1}`;
  const told = make("b", { textContent: withError(value, half) });
  const said = layer.significant[row * width + column]
    ? ["Significant: ", make("span", { className: value > 0 ? "up" : "down", textContent: value > 0 ? layer.towards : layer.against }), "."]
    : ["Not told from zero."];
  one(".readout").replaceChildren(`Row ${row + 1}, column ${column + 1}: `, told, " (95 %). ", ...said);
};
