// The drawn graph: zoom, settings under the pointer, and one channel alone. `solo` is what page.js uses of it.
const solo = (() => {
  const graph = document.querySelector("[data-graph]"), stage = document.querySelector("[data-stage]");
  const tip = document.querySelector("[data-tooltip]"), tools = document.querySelector("[data-graph-tools]");
  const blocks = [...graph.querySelectorAll("[data-channel]")], wires = [...graph.querySelectorAll("[data-from]")];
  const parts = [...document.querySelectorAll("[data-part]")], headings = [...document.querySelectorAll("[data-heading]")];
  const select = document.querySelector("[data-solo]");
  const whole = graph.viewBox.baseVal, natural = { width: whole.width, height: whole.height };
  const ZOOM_STEP = 1.3, MOST = 6, DRAG_PX = 4, MARGIN_PX = 12;
  const view = { x: 0, y: 0, scale: 1 };
  const pointers = new Map();
  let dragged = false, alone = "";

  // ---- zoom: the view box moves over the drawing, and what it shows fills the stage
  function draw() {
    const width = natural.width / view.scale, height = natural.height / view.scale;
    view.x = Math.max(0, Math.min(view.x, natural.width - width));
    view.y = Math.max(0, Math.min(view.y, natural.height - height));
    graph.setAttribute("viewBox", `${view.x} ${view.y} ${width} ${height}`);
    stage.classList.toggle("zoomed", view.scale > 1.001);
    hideTip();
  }
  function zoom(factor, at) {
    const scale = Math.max(1, Math.min(MOST, view.scale * factor));
    const place = at ?? { x: 0.5, y: 0.5 };
    view.x += place.x * natural.width * (1 / view.scale - 1 / scale);
    view.y += place.y * natural.height * (1 / view.scale - 1 / scale);
    view.scale = scale;
    draw();
  }
  function pan(across_px, down_px) {
    const box = graph.getBoundingClientRect();
    view.x -= across_px / box.width * natural.width / view.scale;
    view.y -= down_px / box.height * natural.height / view.scale;
    draw();
  }
  function placeOf(event) {
    const box = graph.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }
  const spread = () => {
    const [one, two] = [...pointers.values()];
    return Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY);
  };
  graph.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the page keeps its own scrolling
    event.preventDefault();
    zoom(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, placeOf(event));
  }, { passive: false });
  graph.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    dragged = false;
  });
  window.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const across = event.clientX - before.clientX, down = event.clientY - before.clientY;
    if (pointers.size === 2) {
      const apart = spread();
      pointers.set(event.pointerId, event);
      if (apart > 0) zoom(spread() / apart, placeOf(event));
      dragged = true;
    } else if (view.scale > 1.001 && (dragged || Math.hypot(across, down) > DRAG_PX)) {
      pointers.set(event.pointerId, event);
      pan(across, down);
      dragged = true;
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) window.addEventListener(kind, (event) => pointers.delete(event.pointerId));
  tools.addEventListener("click", (event) => {
    const kind = event.target.closest("[data-zoom]")?.dataset.zoom;
    if (kind === "fit") Object.assign(view, { x: 0, y: 0, scale: 1 });
    if (kind) zoom(kind === "in" ? ZOOM_STEP : kind === "out" ? 1 / ZOOM_STEP : 1);
  });
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 40;
    const keys = {
      "+": () => zoom(ZOOM_STEP), "=": () => zoom(ZOOM_STEP), "-": () => zoom(1 / ZOOM_STEP),
      0: () => { view.scale = 1; draw(); },
      ArrowLeft: () => pan(step, 0), ArrowRight: () => pan(-step, 0),
      ArrowUp: () => pan(0, step), ArrowDown: () => pan(0, -step),
    };
    if (!keys[event.key] || (event.key.startsWith("Arrow") && view.scale <= 1.001)) return;
    event.preventDefault();
    keys[event.key]();
  });

  // ---- settings under the pointer or the focus, and the way of the signal
  function hideTip() { tip.hidden = true; }
  function showTip(words, box) {
    tip.replaceChildren(...words.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    tip.hidden = false;
    const width = tip.offsetWidth, height = tip.offsetHeight;
    const left = Math.max(MARGIN_PX, Math.min(box.left, document.documentElement.clientWidth - width - MARGIN_PX));
    const below = box.bottom + 6, above = box.top - height - 6;
    tip.style.left = `${left}px`;
    tip.style.top = `${below + height < window.innerHeight || above < 0 ? below : above}px`;
  }
  function light(channel) {
    const onWay = new Set(channel ? [channel] : []);
    for (let grown = Boolean(channel); grown;) {
      grown = false;
      for (const wire of wires) if (onWay.has(wire.dataset.from) && wire.dataset.to && !onWay.has(wire.dataset.to)) grown = Boolean(onWay.add(wire.dataset.to));
    }
    wires.forEach((wire) => wire.classList.toggle("lit", onWay.has(wire.dataset.from) && (!wire.dataset.to || onWay.has(wire.dataset.to))));
    graph.classList.toggle("lighting", Boolean(channel));
  }
  const wordsOf = (block) => {
    const found = [...block.querySelectorAll("[data-tip]")].map((part) => part.dataset.tip);
    return [block.querySelector("a title").textContent, ...(found.length ? found : ["straight through"])];
  };
  for (const block of blocks) {
    const name = block.querySelector("a");
    name.setAttribute("tabindex", "-1");
    block.setAttribute("tabindex", "0");
    block.setAttribute("role", "button");
    block.setAttribute("aria-label", `${wordsOf(block).join(". ")}. Show this channel alone`);
    block.addEventListener("pointerover", (event) => {
      light(block.dataset.channel);
      const part = event.target.closest("[data-tip]");
      if (part) showTip([part.dataset.tip], part.getBoundingClientRect());
      else hideTip();
    });
    block.addEventListener("pointerleave", () => { light(""); hideTip(); });
    block.addEventListener("focus", () => {
      if (!block.matches(":focus-visible")) return;
      light(block.dataset.channel);
      showTip(wordsOf(block), block.getBoundingClientRect());
    });
    block.addEventListener("blur", () => { light(""); hideTip(); });
    block.addEventListener("click", (event) => {
      event.preventDefault();
      if (dragged) return;
      show(alone === block.dataset.channel ? "" : block.dataset.channel);
    });
    block.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      show(alone === block.dataset.channel ? "" : block.dataset.channel);
    });
  }
  // The browser's own hints would come on top of ours.
  graph.querySelectorAll("[data-tip] > title").forEach((title) => title.remove());
  document.addEventListener("scroll", hideTip, { passive: true });

  // ---- one channel alone
  function show(channel, follow = true) {
    alone = channel;
    for (const part of parts) part.hidden = Boolean(channel) && part.dataset.part !== channel;
    for (const heading of headings) heading.hidden = ![...heading.nextElementSibling.children].some((card) => !card.hidden);
    for (const block of blocks) {
      block.classList.toggle("chosen", block.dataset.channel === channel);
      block.setAttribute("aria-pressed", String(block.dataset.channel === channel));
    }
    document.documentElement.classList.toggle("alone", Boolean(channel));
    select.value = channel;
    document.querySelectorAll("[data-all]").forEach((button) => { button.hidden = !channel; });
    if (channel && follow) document.getElementById(channel).scrollIntoView({ block: "start" });
  }
  select.addEventListener("change", () => show(select.value, false));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && alone) show(""); });
  document.querySelectorAll("[data-all]").forEach((button) => button.addEventListener("click", () => show("")));

  tools.hidden = false;
  document.querySelector("[data-only]").hidden = false;
  stage.classList.add("scripted");
  draw();
  return show;
})();
