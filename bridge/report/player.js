"use strict";
// The players of the page: all run together and one is heard. `player` is what graph.js and page.js use of it.
const player = (() => {
  const deck = document.querySelector("[data-deck]");
  const tracks = [...deck.querySelectorAll("audio")];
  const find = (name) => deck.querySelector(`[data-${name}]`);
  const transport = find("transport"), play = find("play"), seek = find("seek"), time = find("time"), problem = find("problem");
  const level = find("level"), boost = find("boost");
  const choices = [...deck.querySelectorAll("[data-select]")];
  const listeners = [...document.querySelectorAll("[data-listen]")];
  const playheads = [...document.querySelectorAll("[data-playhead]")];
  const duration = Number(deck.dataset.duration);
  const STEP_S = 5, DRIFT_S = 0.1, IN_STEP_S = 0.004, CATCH_UP = 0.08, FADE_S = 0.004, BOOST = 10;
  let active = 0, playing = false, hidden = false, context = null, gains = [];

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
  // Where the browser can mix, a switch is a short fade; elsewhere the others are muted.
  function loudness(index) {
    const matched = level.checked ? 10 ** (Number(tracks[index].dataset.gain) / 20) : 1;
    return matched * (boost.checked && tracks[index].dataset.player === "difference" ? BOOST : 1);
  }
  function wire() {
    if (context || !window.AudioContext) return;
    context = new AudioContext();
    gains = tracks.map((track, index) => {
      const gain = context.createGain();
      gain.gain.value = index === active ? loudness(index) : 0;
      context.createMediaElementSource(track).connect(gain).connect(context.destination);
      track.muted = false;
      return gain;
    });
  }
  function balance() {
    tracks.forEach((track, index) => {
      if (context) gains[index].gain.setTargetAtTime(index === active ? loudness(index) : 0, context.currentTime, FADE_S);
      else {
        track.muted = index !== active;
        track.volume = Math.min(loudness(index), 1);
      }
    });
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
  async function start() {
    const from = position() >= duration - 0.01 ? 0 : position();
    setPlaying(true);
    try {
      wire();
      balance();
      if (context) await context.resume();
      await Promise.all(tracks.map((track) => {
        track.currentTime = from;
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

  function mark() {
    const shown = (index) => String(!hidden && index === active);
    choices.forEach((choice, index) => choice.setAttribute("aria-pressed", shown(index)));
    listeners.forEach((button) => button.setAttribute("aria-pressed", shown(Number(button.dataset.listen))));
  }
  // `secret`: no button tells which one it is.
  function choose(index, secret = false) {
    const now = position();
    if (Math.abs(tracks[index].currentTime - now) > DRIFT_S) tracks[index].currentTime = now;
    active = index;
    hidden = secret;
    tracks[index].playbackRate = 1;
    balance();
    mark();
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
  level.addEventListener("change", balance);
  boost.addEventListener("change", balance);
  seek.addEventListener("input", () => go(Number(seek.value)));
  document.querySelectorAll("[data-canvas]").forEach((canvas) => canvas.addEventListener("click", (event) => {
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
    if (element.closest("select, textarea, input[type=checkbox]")) return;
    const number = Number(event.key);
    if (event.key === " " && !element.closest("button, a, summary, [role=button]")) toggle(); // those keep their own space
    else if (number >= 1 && number <= tracks.length) choose(number - 1);
    else if (event.key === "ArrowLeft" && !element.closest(".scroll")) go(position() - STEP_S);
    else if (event.key === "ArrowRight" && !element.closest(".scroll")) go(position() + STEP_S);
    else return;
    event.preventDefault();
  });

  for (const part of [transport, find("hint"), find("options"), ...document.querySelectorAll("[data-takes]")]) part.hidden = false;
  deck.classList.add("scripted");
  document.documentElement.classList.add("seekable");
  tracks.forEach((track) => { track.controls = false; });
  choose(0);
  return { choose, start, isPlaying: () => playing, soundsMixed: () => context !== null };
})();

// The blind test: X is one of two, and a row of right answers says how likely guessing would do as well.
(() => {
  const panel = document.querySelector("[data-blind-test]"), opener = document.querySelector("[data-blind]");
  const find = (name) => panel.querySelector(`[data-${name}]`);
  const a = find("a"), b = find("b"), score = find("score");
  const playersOf = [...document.querySelectorAll("audio")].flatMap((track, index) => (track.dataset.player === "difference" ? [] : [index]));
  let x = "a", right = 0, count = 0;

  const draw = () => { x = crypto.getRandomValues(new Uint8Array(1))[0] % 2 ? "a" : "b"; };
  const chosen = (which) => playersOf[Number((which === "a" ? a : b).value)];
  // Binomial: at least so many right of so many by throwing a coin.
  function byChance() {
    let term = 0.5 ** count, sum = 0;
    for (let k = 0; k <= count; k += 1) {
      if (k >= right) sum += term;
      term *= (count - k) / (k + 1);
    }
    return Math.min(sum, 1);
  }
  function tell() {
    const chance = 100 * byChance();
    score.textContent = count === 0 ? "No answer yet." :
      `${right} of ${count} right; guessing does as well in ${chance < 1 ? chance.toFixed(1) : chance.toFixed(0)} % of cases.`;
  }
  function again() {
    right = count = 0;
    draw();
    tell();
  }
  opener.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    opener.setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden) again();
  });
  panel.querySelectorAll("[data-hear]").forEach((button) => button.addEventListener("click", () => {
    const which = button.dataset.hear;
    player.choose(chosen(which === "x" ? x : which), true);
    panel.querySelectorAll("[data-hear]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    if (!player.isPlaying()) player.start();
  }));
  panel.querySelectorAll("[data-answer]").forEach((button) => button.addEventListener("click", () => {
    count += 1;
    right += button.dataset.answer === x ? 1 : 0;
    draw();
    panel.querySelectorAll("[data-hear]").forEach((other) => other.setAttribute("aria-pressed", "false"));
    tell();
  }));
  find("again").addEventListener("click", again);
  for (const choice of [a, b]) choice.addEventListener("change", again);
  b.selectedIndex = b.options.length - 1;
})();
