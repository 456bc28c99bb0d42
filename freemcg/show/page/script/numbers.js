// From base64 to numbers, and from numbers to text.
const Z = 1.96, UNKNOWN = 32767, STEPS = 4000;
const inflated = async (text) => {
  const packed = new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
};
const plane = async (text, top, missing) => {
  const bytes = new Uint8Array(await inflated(text)), count = bytes.length / 2; // all low bytes, then all high ones
  const whole = Int16Array.from({ length: count }, (_, index) => bytes[index] | (bytes[count + index] << 8));
  return Float32Array.from(whole, (value) => (value === UNKNOWN ? missing : (value * top) / STEPS));
};
const minus = (text) => text.replace("-", "−");
const short = (value) => minus(Number(value.toPrecision(2)).toString());
const percent = (share) => `${(100 * share).toFixed(share >= 0.99 ? 2 : share >= 0.1 ? 0 : share >= 0.01 || !share ? 1 : 2)} %`;
const plus = (value, text) => (value >= 0 ? "+" : "") + minus(text);
const withError = (value, half) => {
  if (!Number.isFinite(half)) return `${plus(value, short(value))}, error unknown`;
  if (half === 0) return `${plus(value, short(value))} ± 0`;
  const size = Math.floor(Math.log10(half));
  if (size < -5 || size > 5) return `${plus(value, value.toExponential(1))} ± ${half.toExponential(0)}`;
  const digits = Math.max(0, 1 - size);
  return `${plus(value, value.toFixed(digits))} ± ${half.toFixed(digits)}`;
};
const largest = (values) => values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
