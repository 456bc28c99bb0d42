// A table, sorted by the column whose name is pressed; pressed again, as it was.
const makeSortable = (table) => {
  const rows = all("tbody tr", table), buttons = all(".sort", table);
  let sorted = null;
  const sortBy = (button) => {
    sorted = sorted === button ? null : button;
    const column = +button.dataset.column, higher = button.dataset.higher === "1";
    const value = (row) => {
      const text = all(".figure", row)[column].dataset.value;
      return text === "" ? -Infinity : higher ? +text : -text;
    };
    const order = sorted ? [...rows].sort((a, b) => (value(a) < value(b) ? 1 : value(a) > value(b) ? -1 : 0)) : rows;
    one("tbody", table).append(...order);
    buttons.forEach((each) => {
      each.closest("th").setAttribute("aria-sort", each !== sorted ? "none" : higher ? "descending" : "ascending");
    });
  };
  buttons.forEach((button) => button.addEventListener("click", () => sortBy(button)));
};
all("table.methods").forEach(makeSortable);
listenToTheme();
all(".scripted").forEach((part) => { part.hidden = false; });
document.documentElement.dataset.ready = "table";
