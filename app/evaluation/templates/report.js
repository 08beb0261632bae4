"use strict";
(() => {
  const map = document.getElementById("map-plot");
  const card = document.getElementById("map-card");
  if (!map || !card) return;
  const thumbnails = JSON.parse(document.getElementById("map-thumbnails").textContent);
  const image = card.querySelector("img");
  const words = card.querySelector("figcaption");
  let chosen = null;
  const show = (event) => {
    const point = event.target.closest("[data-row]");
    if (!point || point === chosen) return;
    if (chosen) chosen.classList.remove("chosen");
    chosen = point;
    chosen.classList.add("chosen");
    const source = thumbnails[point.dataset.row];
    image.hidden = !source;
    if (source) image.src = source;
    words.textContent = point.querySelector("title").textContent;
  };
  map.addEventListener("pointerover", show);
  map.addEventListener("click", show);
})();
