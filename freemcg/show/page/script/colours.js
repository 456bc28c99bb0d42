// The two scales, read from the style so that they are written once.
const scale = (name) => {
  const stops = getComputedStyle(document.documentElement).getPropertyValue(name).match(/#[0-9a-f]{6}/g);
  const table = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  return (share) => {
    const place = Math.min(1, Math.max(0, share)) * (table.length - 1);
    const below = Math.min(table.length - 2, Math.floor(place));
    return table[below].map((colour, part) => colour + (table[below + 1][part] - colour) * (place - below));
  };
};
const signedScale = scale("--signed"), errorScale = scale("--errors");
const paint = (canvas, width, height, colour) => {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let place = 0; place < width * height; place++) image.data.set([...colour(place), 255], 4 * place);
  context.putImageData(image, 0, 0);
};
