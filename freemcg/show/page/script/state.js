// What the reader has chosen. It stays the same from one picture to the next.
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, properties = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
};
const kept = {
  get(name) { try { return localStorage.getItem(name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(name, value); } catch { /* a page from a file may keep nothing */ } },
};
const chosen = { kind: "map", only: false, same: false, opacity: 75, cross: [0, 0], step: 0, holding: false };
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
let detail = null; // the numbers of the picture that is shown
