// Films: a slider and a button step through the frames; the table and the cursor in the time line follow. Nothing moves without a click.
for (const player of document.querySelectorAll(".player")) {
  const data = JSON.parse(player.querySelector("script").textContent);
  const image = player.querySelector("img"), slider = player.querySelector("input"), button = player.querySelector("button");
  const cursor = player.querySelector(".cursor"), rows = player.querySelectorAll("tbody tr"), status = player.querySelector(".status");
  let timer = null;
  const show = (t) => {
    image.src = "data:image/png;base64," + data.frames[t];
    slider.value = t;
    const words = `step ${t} of ${data.frames.length - 1}, return so far ${data.returns[t]}`;
    slider.setAttribute("aria-valuetext", words);
    status.textContent = words;
    if (cursor) cursor.style.left = 100 * (data.left + (data.right - data.left) * Math.min(t, data.frames.length - 2) / Math.max(1, data.frames.length - 2)) + "%";
    rows.forEach((row, agent) => data.fields.forEach((field, column) => {
      const values = data.steps[field][t];
      row.cells[column + 1].textContent = values ? values[agent] : "-";
    }));
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (+slider.value >= data.frames.length - 1) show(0);
    button.textContent = "Pause";
    timer = setInterval(() => { +slider.value >= data.frames.length - 1 ? stop() : show(+slider.value + 1); }, 1000 / data.speed);
  });
  slider.addEventListener("input", () => { if (timer) stop(); show(+slider.value); });
  show(0);
}
