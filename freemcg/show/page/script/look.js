// The section "Where it looks": its switches, its legend, and the cross that follows mouse, finger and arrow keys.
const drawLook = () => {
  if (!one(".looks")) return;
  const errors = chosen.kind === "error";
  document.documentElement.style.setProperty("--alpha", chosen.opacity / 100);
  all("[data-layer]").forEach((part) => {
    const ends = part.classList.contains("ends");
    part.hidden = part.dataset.layer !== (ends && errors ? "error" : layerName());
  });
  one(".bar.signed").hidden = errors;
  one(".bar.violet").hidden = !errors;
  all(".ends .top").forEach((end) => {
    end.textContent = Number.isFinite(topShown()) ? short(topShown()) : "unknown";
  });
  one(".stage.map").setAttribute("aria-label", `${errors ? "Standard errors" : "Map"}. ${layerShown().spoken}`);
  const range = one(".opacity");
  range.value = chosen.opacity;
  range.style.setProperty("--share", `${chosen.opacity}%`);
  one(".slide output").textContent = `${chosen.opacity} %`;
  one(".only").checked = chosen.only;
  one(".same").checked = chosen.same;
  all("[name=kind]").forEach((radio) => { radio.checked = radio.value === (errors ? "error" : layerName()); });
  drawMap();
  drawCross();
  drawCut();
};
const cutLater = () => {
  drawCross();
  if (!cutLater.asked) cutLater.asked = requestAnimationFrame(() => { cutLater.asked = 0; drawCut(); });
};
const moveCross = (x, y) => {
  const inside = (value, size) => Math.max(0, Math.min(size - 1, value));
  chosen.cross = [inside(x, detail.size[0]), inside(y, detail.size[1])];
  cutLater();
};
const listenToLook = () => {
  const stage = one(".stage.map");
  if (!stage) return;
  const svg = '<svg class="outlines" aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 ' +
    `${detail.size[0]} ${detail.size[1]}"><path class="plus"/><path class="minus"/></svg>`;
  all(".still", stage).forEach((still) => { still.hidden = true; });
  one(".under", stage).insertAdjacentElement("afterend", make("canvas", { className: "over" }));
  one("canvas.over", stage).insertAdjacentHTML("afterend", svg);
  stage.append(make("span", { className: "row" }), make("span", { className: "cross" }));
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    moveCross(
      Math.floor(((event.clientX - box.left) / box.width) * detail.size[0]),
      Math.floor(((event.clientY - box.top) / box.height) * detail.size[1]),
    );
  };
  stage.addEventListener("pointerdown", follow);
  stage.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") follow(event); });
  stage.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const far = (event.shiftKey ? 4 : 1) * Math.max(1, Math.round(Math.max(...detail.size) / 64));
    moveCross(chosen.cross[0] + far * way[0], chosen.cross[1] + far * way[1]);
  });
  const choose = (selector, act) => all(selector).forEach((part) => part.addEventListener("input", () => { act(part); drawLook(); }));
  choose(".only", (part) => { chosen.only = part.checked; });
  choose(".same", (part) => { chosen.same = part.checked; });
  choose(".opacity", (part) => { chosen.opacity = +part.value; });
  choose("[name=kind]", (part) => { chosen.kind = part.value; });
};
