// The map over the picture: its colours, the outlines of what is significant, and the cross.
const layerShown = () => detail.layers[chosen.kind] ?? detail.layers.map ?? Object.values(detail.layers)[0];
const layerName = () => (detail.layers[chosen.kind] ? chosen.kind : Object.keys(detail.layers)[0]);
const topShown = (errors = chosen.kind === "error") => {
  const name = layerName() + (errors ? " errors" : "");
  const own = errors ? layerShown().errorTop : layerShown().top;
  return chosen.same ? Math.max(own, ...gallery.cards.map((card) => card.tops[name] ?? 0)) : own;
};
const drawMap = () => {
  const [width, height] = detail.size, layer = layerShown(), top = topShown() || 1, errors = chosen.kind === "error";
  const share = (pixel) => {
    if (chosen.only && !layer.significant[pixel]) return errors ? 0 : 0.5;
    if (errors) return layer.errors[pixel] / top;
    return Number.isFinite(layer.values[pixel]) ? 0.5 + layer.values[pixel] / top / 2 : 0.5;
  };
  const stage = one(".stage.map"), canvas = one("canvas.over", stage);
  canvas.classList.toggle("crisp", Math.max(width, height) <= 96);
  paint(canvas, width, height, errors ? ERRORS : SIGNED, share);
  const shown = chosen.only && chosen.opacity > 0;
  one(".plus", stage).setAttribute("d", shown ? outline(layer, width, height, 1) : "");
  one(".minus", stage).setAttribute("d", shown ? outline(layer, width, height, -1) : "");
};
const outline = (layer, width, height, sign) => {
  const on = (x, y) =>
    x >= 0 && y >= 0 && x < width && y < height && layer.significant[y * width + x] === 1 &&
    Math.sign(layer.values[y * width + x]) === sign;
  const parts = [];
  for (let x = 0; x <= width; x++)
    for (let y = 0, from = -1; y <= height; y++) {
      const edge = y < height && on(x, y) !== on(x - 1, y);
      if (edge && from < 0) from = y;
      if (!edge && from >= 0) { parts.push(`M${x} ${from}V${y}`); from = -1; }
    }
  for (let y = 0; y <= height; y++)
    for (let x = 0, from = -1; x <= width; x++) {
      const edge = x < width && on(x, y) !== on(x, y - 1);
      if (edge && from < 0) from = x;
      if (!edge && from >= 0) { parts.push(`M${from} ${y}H${x}`); from = -1; }
    }
  return parts.length > 20000 ? "" : parts.join("");
};
const drawCross = () => {
  const [width, height] = detail.size, [x, y] = chosen.cross, stage = one(".stage.map");
  const cross = one(".cross", stage), row = one(".row", stage), middle = `${(100 * (y + 0.5)) / height}%`;
  Object.assign(cross.style, {
    left: `${(100 * (x + 0.5)) / width}%`, top: middle, width: `${100 / width}%`, height: `${100 / height}%`,
  });
  row.style.top = middle;
};
