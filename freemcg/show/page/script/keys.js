// Keys for the whole page.
const listenToKeys = () => document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /SELECT|TEXTAREA/.test(event.target.tagName) || !detail) return;
  const shown = visible().map((pick) => +pick.dataset.index), at = shown.indexOf(current);
  const to = (step) => { if (shown.length) show(shown[(at + step + shown.length) % shown.length]); };
  const looks = one(".looks");
  if (event.key === "]") to(1);
  else if (event.key === "[") to(-1);
  else if (event.key === "s" && looks) { chosen.only = !chosen.only; drawLook(); }
  else if (event.key === "e" && looks) { chosen.kind = chosen.kind === "error" ? "map" : "error"; drawLook(); }
  else if (event.key === ",") { stopPlaying(); goTo(chosen.step - 1); }
  else if (event.key === ".") { stopPlaying(); goTo(chosen.step + 1); }
});
