// The way from the input to the counterfactual: a slider above the chance of each step, or above its distance from the input.
let playing = 0;
const lastStep = () => detail.change.amounts.length - 1;
const drawPath = () => {
  if (!detail.change) return;
  const { frames, changes, changeSize, amounts, told, words } = detail.change, last = lastStep();
  const step = chosen.holding ? 0 : chosen.step, shown = one(".changes .shown"), middle = step > 0 && step < last;
  shown.src = frames[step];
  one(".changes .step").textContent = step === 0 ? "Input" : middle ? `Step ${step}` : words.title;
  one(".changes .after").textContent = step === 0 ? words.before : middle ? told?.[step] ?? "on the way" : words.after;
  shown.alt = `${one(".changes .step").textContent}, ${one(".changes .after").textContent}`;
  one(".changes .amount").textContent = step ? `${percent(amounts[step])} of full brightness` : "nothing yet";
  const [width, height] = changeSize, start = step * width * height;
  const canvas = one(".difference canvas");
  canvas.classList.toggle("crisp", Math.max(...detail.size) <= 96);
  paint(canvas, width, height, SIGNED, (pixel) => 0.5 + changes[start + pixel] / 254);
  const range = one(".steps");
  if (!range) return;
  range.value = chosen.step;
  range.style.setProperty("--share", `${(100 * chosen.step) / last}%`);
  const said = chosen.step === 0 ? "the input" : `step ${chosen.step} of ${last}`;
  const thought = told ? `, ${told[chosen.step]}` : "";
  range.setAttribute("aria-valuetext", `${said}${thought}, ${percent(amounts[chosen.step])} of full brightness from the input`);
  if (one(".curve")) drawCurve(amounts, last);
  if (one(".plot")) drawPlace(last);
};
// The place of the slider on the curve of chances and the strip of decisions, which are drawn already.
const drawPlace = (last) => {
  const left = `${(100 * chosen.step) / last}%`, dot = one(".plot .at");
  one(".plot .here").style.left = left;
  if (!dot) return;
  dot.setAttribute("cx", left);
  dot.setAttribute("cy", detail.change.heights[chosen.step]);
};
const drawCurve = (amounts, last) => {
  const place = one(".curve"), wide = Math.max(200, place.clientWidth), tall = 96, side = 12, above = 10, below = 22;
  const most = Math.max(...amounts) || 1, x = (step) => side + ((wide - 2 * side) * step) / last;
  const y = (amount) => above + (tall - above - below) * (1 - amount / most);
  const line = amounts.slice(1).map((amount, step) => `${step ? "L" : "M"}${x(step + 1)} ${y(amount)}`).join("");
  const at = chosen.step;
  place.innerHTML = `<svg height="${tall}" viewBox="0 0 ${wide} ${tall}">` +
    `<line class="grid" x1="${side}" x2="${wide - side}" y1="${y(0)}" y2="${y(0)}"/>` +
    `<path class="from" d="M${x(0)} ${y(amounts[0])}L${x(1)} ${y(amounts[1])}"/><path class="line" d="${line}"/>` +
    `<rect class="start" x="${x(0) - 4}" y="${y(0) - 4}" width="8" height="8"/>` +
    `<line class="grid" x1="${x(at)}" x2="${x(at)}" y1="${above}" y2="${y(0)}"/>` +
    `<circle class="at" cx="${x(at)}" cy="${y(amounts[at])}" r="6"/>` +
    `<text x="0" y="${tall - 4}">input</text>` +
    `<text x="${wide}" y="${tall - 4}" text-anchor="end">${detail.change.words.title.toLowerCase()}</text></svg>`;
};
const stopPlaying = () => {
  clearInterval(playing);
  playing = 0;
  if (one(".play")) one(".play").textContent = "Play";
};
const goTo = (step) => {
  if (!detail.change || !one(".steps")) return;
  chosen.step = Math.max(0, Math.min(lastStep(), step));
  drawPath();
};
const listenToPath = () => {
  if (!detail.change) return;
  const stage = one(".difference");
  one(".still", stage).hidden = true;
  stage.append(make("canvas"));
  if (!one(".steps")) return;
  one(".steps").addEventListener("input", (event) => { stopPlaying(); goTo(+event.target.value); });
  all(".curve, .plot").forEach((place) => place.addEventListener("pointerdown", (event) => {
    const box = place.getBoundingClientRect(), side = place.matches(".curve") ? 12 : 0;
    stopPlaying();
    goTo(Math.round(((event.clientX - box.left - side) / (box.width - 2 * side)) * lastStep()));
  }));
  one(".play").addEventListener("click", () => {
    if (playing) return stopPlaying();
    if (chosen.step >= lastStep()) chosen.step = -1;
    one(".play").textContent = "Pause";
    const on = () => { goTo(chosen.step + 1); if (chosen.step >= lastStep()) stopPlaying(); };
    playing = setInterval(on, calm ? 900 : 220);
    return on();
  });
  const hold = (holding) => () => { if (chosen.holding !== holding) { chosen.holding = holding; drawPath(); } };
  const button = one(".hold");
  button.addEventListener("pointerdown", hold(true));
  ["pointerup", "pointerleave", "pointercancel", "blur", "keyup"].forEach((end) => button.addEventListener(end, hold(false)));
  button.addEventListener("keydown", (event) => {
    if (event.key === " " || event.key === "Enter") { event.preventDefault(); hold(true)(); }
  });
};
