(() => {
  const view = document.getElementById("side-by-side");
  if (!view) return;
  const sides = ["left", "right"].map((side) => ({
    select: document.getElementById(`${side}-task`),
    place: document.getElementById(`${side}-map`),
  }));
  const maps = [...document.querySelectorAll(".head-map")];
  const mapOf = (task) => maps.find((map) => map.dataset.task === task);
  const show = () => {
    const [left, right] = sides.map((side) => side.select.value);
    for (const { select, place } of sides) place.replaceChildren(mapOf(select.value).cloneNode(true));
    const tau = left === right ? undefined : JSON.parse(mapOf(left).dataset.taus)[right];
    document.getElementById("pair-tau").textContent = tau === undefined ? "" : `tau ${tau}`;
  };
  for (const { select } of sides) select.addEventListener("change", show);
  show();
  view.hidden = false;
  document.getElementById("all-maps").open = false;
})();
