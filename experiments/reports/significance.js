// Shows the rows and columns of the heat maps whose names contain what is typed.
"use strict";

const filter = document.getElementById("filter");

filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const table of document.querySelectorAll(".heat")) {
    const [head, ...rows] = table.rows;
    const kept = rows.map(({ cells }) =>
      words.every((word) => cells[0].textContent.toLowerCase().includes(word)));
    rows.forEach((row, place) => { row.hidden = !kept[place]; });
    for (const { cells } of [head, ...rows])
      kept.forEach((keep, place) => { cells[place + 1].hidden = !keep; });
  }
});
