"use strict";
(() => {
  const deck = document.querySelector("[data-deck]");
  const tracks = [...deck.querySelectorAll("audio")];
  const find = (name) => deck.querySelector(`[data-${name}]`);
  const transport = find("transport"), play = find("play"), seek = find("seek"), time = find("time"), problem = find("problem");
  const choices = [...deck.querySelectorAll("[data-select]")];
  const listeners = [...document.querySelectorAll("[data-listen]")];
  const canvases = [...document.querySelectorAll("[data-canvas]")];
  const playheads = [...document.querySelectorAll("[data-playhead]")];
  const duration = Number(deck.dataset.duration);
  const STEP_S = 5, DRIFT_S = 0.1, IN_STEP_S = 0.004, CATCH_UP = 0.08;
  let active = 0, playing = false;

  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
  const total = clock(Math.round(duration));
  const position = () => Math.min(tracks[active].currentTime, duration);

  function show() {
    const now = position();
    if (document.activeElement !== seek || playing) seek.value = now;
    time.textContent = `${clock(now)} / ${total}`;
    seek.setAttribute("aria-valuetext", clock(now));
    for (const line of playheads) {
      line.hidden = false;
      line.style.left = `${duration > 0 ? 100 * now / duration : 0}%`;
    }
  }
  // Players that start together are still some milliseconds apart; those that are not heard catch up by their speed.
  function keepInStep() {
    const now = tracks[active].currentTime;
    tracks.forEach((track, index) => {
      const behind = index === active ? 0 : now - track.currentTime;
      const rate = Math.abs(behind) < IN_STEP_S ? 1 : 1 + Math.max(-CATCH_UP, Math.min(CATCH_UP, 2 * behind));
      if (track.playbackRate !== rate) track.playbackRate = rate;
    });
  }
  function tick() {
    show();
    if (!playing) return;
    keepInStep();
    requestAnimationFrame(tick);
  }
  function setPlaying(value) {
    playing = value;
    play.classList.toggle("playing", value);
    play.setAttribute("aria-label", value ? "Pause" : "Play");
  }
  // All run together and only one is heard, so a switch is instant and keeps the place.
  async function start() {
    const from = position() >= duration - 0.01 ? 0 : position();
    setPlaying(true);
    try {
      await Promise.all(tracks.map((track, index) => {
        track.currentTime = from;
        track.muted = index !== active;
        return track.play();
      }));
      problem.hidden = true;
    } catch (error) {
      if (error.name === "AbortError") return; // paused before it began
      stop();
      problem.hidden = false;
    }
    tick();
  }
  function stop() {
    setPlaying(false);
    tracks.forEach((track) => track.pause());
    show();
  }
  const toggle = () => (playing ? stop() : start());

  function choose(index) {
    const now = position();
    if (Math.abs(tracks[index].currentTime - now) > DRIFT_S) tracks[index].currentTime = now;
    active = index;
    tracks[index].playbackRate = 1;
    tracks.forEach((track, other) => { track.muted = other !== index; });
    choices.forEach((choice, other) => choice.setAttribute("aria-pressed", String(other === index)));
    listeners.forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.listen) === index)));
    show();
  }
  function go(to) {
    const place = Math.max(0, Math.min(to, duration));
    tracks.forEach((track) => { track.currentTime = place; });
    show();
  }

  play.addEventListener("click", toggle);
  choices.forEach((choice, index) => choice.addEventListener("click", () => choose(index)));
  listeners.forEach((button) => button.addEventListener("click", () => {
    choose(Number(button.dataset.listen));
    if (!playing) start();
  }));
  seek.addEventListener("input", () => go(Number(seek.value)));
  canvases.forEach((canvas) => canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    go(duration * (event.clientX - box.left) / box.width);
  }));
  tracks.forEach((track, index) => {
    track.addEventListener("ended", () => { if (index === active) stop(); });
    track.addEventListener("seeked", () => { if (!playing) show(); });
    track.addEventListener("error", () => { problem.hidden = false; });
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const element = event.target instanceof Element ? event.target : document.body;
    const number = Number(event.key);
    if (event.key === " " && !element.closest("button, a")) toggle(); // a focused button keeps its own space
    else if (number >= 1 && number <= tracks.length) choose(number - 1);
    else if (event.key === "ArrowLeft" && !element.closest(".scroll")) go(position() - STEP_S);
    else if (event.key === "ArrowRight" && !element.closest(".scroll")) go(position() + STEP_S);
    else return;
    event.preventDefault();
  });

  transport.hidden = false;
  find("hint").hidden = false;
  document.querySelectorAll("[data-takes]").forEach((line) => { line.hidden = false; });
  deck.classList.add("scripted");
  document.documentElement.classList.add("seekable");
  tracks.forEach((track) => { track.controls = false; });
  choose(0);
})();
