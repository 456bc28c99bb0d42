// One picture's sections: from this page, or from a file beside it.
const parts = new Map();
const FIRST = "";
const loaded = (file) => new Promise((done, fail) => {
  document.head.append(make("script", { src: file, onload: done, onerror: () => fail(new Error(file)) }));
});
window.freemcg = {
  shown: (part) => { parts.set(part.card.anchor, part.html); },
  pictures: (sources) => { Object.entries(sources).forEach(([anchor, pair]) => showThumbnails(anchor, pair)); },
};
const htmlOf = async (card) => {
  const inside = all("template.explanation").find((part) => part.dataset.anchor === card.anchor);
  if (inside) return inside.innerHTML;
  if (!parts.has(card.anchor)) {
    const file = gallery.files[card.anchor];
    try {
      await loaded(file);
    } catch {
      return "";
    }
  }
  return parts.get(card.anchor) ?? "";
};
const unpacked = async (numbers) => {
  for (const layer of Object.values(numbers.layers)) {
    layer.values = await plane(layer.values, layer.top, NaN);
    layer.errors = await plane(layer.errors, layer.errorTop, Infinity);
    layer.significant = new Uint8Array(await inflated(layer.significant));
    layer.reach = largest(layer.values.map((value, place) => Math.abs(value) + Z * layer.errors[place]));
  }
  if (numbers.change) {
    numbers.change.changes = new Int8Array(await inflated(numbers.change.changes));
    const frames = one("template.frames")?.content.querySelectorAll("img") ?? [];
    const ends = [one(".changes .first").src, one(".changes .shown").src];
    numbers.change.frames = [ends[0], ...[...frames].map((frame) => frame.src), ends[1]];
    const text = (selector) => one(`.changes ${selector}`).textContent;
    numbers.change.words = { title: text(".step"), after: text(".after"), before: text("figcaption .soft") };
  }
  return numbers;
};
const mount = async () => {
  stopPlaying();
  detail = null;
  const found = await unpacked(JSON.parse(one("#detail .numbers").textContent));
  detail = found;
  if (Object.keys(detail.layers).length) chosen.cross = [...layerShown().cross];
  if (detail.change) chosen.step = lastStep();
  listenToLook();
  listenToPath();
  all(".scripted").forEach((part) => { part.hidden = false; });
  drawLook();
  drawPath();
  document.documentElement.dataset.ready = one("#detail .explanation").dataset.name;
};
let wanted = 0, current = 0;
const show = async (index, { keepAddress = false } = {}) => {
  const card = gallery.cards[index], turn = ++wanted;
  delete document.documentElement.dataset.ready;
  const fresh = !parts.has(FIRST) && index === 0;
  if (!parts.has(FIRST)) parts.set(FIRST, one("#detail").innerHTML);
  if (!fresh) {
    const html = index === 0 ? parts.get(FIRST) : await htmlOf(card);
    if (turn !== wanted) return;
    const lost = make("p", { className: "card" });
    lost.textContent = `The explanation of ${card.name} lies in the folder "report_files" beside this page, and cannot be read. ` +
      "Keep the two together.";
    if (html) one("#detail").innerHTML = html;
    else one("#detail").replaceChildren(lost);
  }
  current = index;
  markCurrent();
  if (!keepAddress) history.replaceState(null, "", `#${card.anchor}`);
  if (one("#detail .numbers")) await mount();
};
