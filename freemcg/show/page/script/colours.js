// The two scales, read from the style so that they are written once, as tables of 2049 colours.
const FINE = 2048;
const scale = (name) => {
  const stops = getComputedStyle(document.documentElement).getPropertyValue(name).match(/#[0-9a-f]{6}/g);
  const ends = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(3 * (FINE + 1));
  for (let step = 0; step <= FINE; step++) {
    const place = (step / FINE) * (ends.length - 1), below = Math.min(ends.length - 2, Math.floor(place));
    for (let part = 0; part < 3; part++)
      table[3 * step + part] = ends[below][part] + (ends[below + 1][part] - ends[below][part]) * (place - below);
  }
  return table;
};
const SIGNED = scale("--signed"), ERRORS = scale("--errors");
// Paint a picture of one scale; `share` tells each pixel's place on it, from 0 to 1.
const paint = (canvas, width, height, table, share) => {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height), data = image.data;
  for (let pixel = 0; pixel < width * height; pixel++) {
    const from = 3 * Math.round(Math.min(1, Math.max(0, share(pixel))) * FINE), to = 4 * pixel;
    data[to] = table[from];
    data[to + 1] = table[from + 1];
    data[to + 2] = table[from + 2];
    data[to + 3] = 255;
  }
  context.putImageData(image, 0, 0);
};
