// The picture that the address names, or the first.
const pick = () => {
  const at = gallery.cards.findIndex((card) => `#${card.anchor}` === decodeURIComponent(location.hash));
  return Math.max(0, at);
};
listenToTheme();
listenToGallery();
listenToKeys();
addEventListener("hashchange", () => {
  if (location.hash !== "#detail" && pick() !== current) show(pick(), { keepAddress: true });
});
let wide = innerWidth;
addEventListener("resize", () => {
  if (wide === innerWidth || !detail) return;
  wide = innerWidth;
  drawLook();
  drawPath();
});
show(pick(), { keepAddress: true });
