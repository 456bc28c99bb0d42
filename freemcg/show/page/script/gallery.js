// The gallery: filters, order, a count, and small pictures that are read when they come into view.
const gallery = JSON.parse(one("#gallery").textContent);
const picks = all(".pick");
const filters = { decided: "", became: "", reliable: "", order: "order" };
const fits = (card) => {
  const { decided, became, reliable } = filters;
  if (decided && card.decided !== decided) return false;
  if (became && card.became !== became) return false;
  if (reliable === "problem") return card.problem !== "";
  if (reliable === "high") return card.reliability !== null && card.reliability >= gallery.limit;
  if (reliable === "low") return card.reliability !== null && card.reliability < gallery.limit;
  return true;
};
const ordered = () => {
  const fitting = picks.filter((pick) => fits(gallery.cards[pick.dataset.index]));
  const by = filters.order, value = (pick) => gallery.cards[pick.dataset.index][by] ?? Infinity;
  if (by === "order") return fitting;
  return fitting.sort((a, b) => (by === "reliability" ? value(b) - value(a) || 0 : value(a) - value(b) || 0));
};
const visible = () => all(".cards li:not([hidden]) .pick");
const drawGallery = () => {
  const shown = ordered(), list = one(".cards"), on = new Set(shown);
  picks.forEach((pick) => { pick.parentNode.hidden = !on.has(pick); });
  list.append(...shown.map((pick) => pick.parentNode));
  const total = gallery.cards.length;
  one(".count").textContent = `${shown.length.toLocaleString("en")} of ${total.toLocaleString("en")} ${gallery.noun}s`;
  one(".none").hidden = shown.length > 0;
  if (shown.length && !shown.some((pick) => +pick.dataset.index === current)) show(+shown[0].dataset.index);
};
const markCurrent = () => picks.forEach((pick) => {
  const here = +pick.dataset.index === current;
  if (here) pick.setAttribute("aria-current", "true");
  else pick.removeAttribute("aria-current");
  const strip = pick.closest(".cards");
  if (here && innerWidth <= 900) strip.scrollTo({ left: pick.parentNode.offsetLeft - 80 });
});
const showThumbnails = (anchor, sources) => {
  const pick = picks[gallery.cards.findIndex((card) => card.anchor === anchor)];
  all("img", pick).forEach((image, at) => { image.src = sources[at]; });
};
const listenToGallery = () => {
  Object.keys(filters).forEach((name) => {
    const select = one(`.filters .${name}`);
    select?.addEventListener("change", () => { filters[name] = select.value; drawGallery(); });
  });
  one(".cards")?.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const shown = visible(), next = shown[shown.indexOf(document.activeElement) + way];
    if (way && next) { event.preventDefault(); next.focus(); }
  });
  const asked = new Set();
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    const file = gallery.thumbnails[entry.target.dataset.index];
    if (!entry.isIntersecting || !file || asked.has(file)) return;
    asked.add(file);
    loaded(file).catch(() => {});
  }), { rootMargin: "400px" });
  if (Object.keys(gallery.thumbnails).length) picks.forEach((pick) => seen.observe(pick));
  if (innerWidth <= 900 && one(".fold")) one(".fold").open = false;
};
