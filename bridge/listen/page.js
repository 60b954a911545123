"use strict";
(() => {
  const find = (name) => document.querySelector(`[data-${name}]`);
  const text = (bytes) => new TextDecoder().decode(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)));
  const key = JSON.parse(text(find("key").textContent.trim()));
  const sounds = JSON.parse(find("sounds").textContent);
  const FADE_S = 0.005, MIDDLE = 50, REFERENCE = -1;
  const play = find("play"), seek = find("seek"), time = find("time"), reference = find("reference"), items = find("items");
  const next = find("next"), missing = find("missing"), problem = find("problem"), volume = find("volume"), form = find("start");
  let context = null, deck = null, session = null, board = null;

  // ------------------------------------------------------------------ chance

  // The same name gets the same orders, on any machine: FNV-1a of the text, then mulberry32.
  function randomOf(words) {
    let state = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(words)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let x = Math.imul(state ^ (state >>> 15), state | 1);
      x = (x + Math.imul(x ^ (x >>> 7), x | 61)) ^ x;
      return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
    };
  }
  function shuffled(count, random) {
    const order = [...Array(count).keys()];
    for (let i = count - 1; i > 0; i -= 1) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  // ------------------------------------------------------------------- sound

  // All sounds of a song run together in one clock and only one is let through: a switch cannot lose the place.
  class Deck {
    constructor(buffers) {
      this.buffers = buffers;
      this.duration = Math.min(...buffers.map((buffer) => buffer.duration));
      this.place = 0;
      this.began = null;
      this.active = 0;
      this.gains = buffers.map(() => {
        const gain = context.createGain();
        gain.gain.value = 0;
        gain.connect(context.destination);
        return gain;
      });
      this.sources = [];
    }
    get playing() { return this.began !== null; }
    get position() {
      if (!this.playing) return this.place;
      return (this.place + Math.max(0, context.currentTime - this.began)) % this.duration;
    }
    start() {
      if (this.playing) return;
      const at = context.currentTime + 0.02;
      this.sources = this.buffers.map((buffer, index) => {
        const source = context.createBufferSource();
        source.buffer = buffer;
        source.loop = true;
        source.loopStart = 0;
        source.loopEnd = this.duration;
        source.connect(this.gains[index]);
        source.start(at, this.place);
        return source;
      });
      this.began = at;
      this.choose(this.active);
    }
    stop() {
      if (!this.playing) return;
      this.place = this.position;
      this.began = null;
      this.sources.forEach((source) => { source.stop(); source.disconnect(); });
      this.sources = [];
    }
    choose(index) {
      this.active = index;
      const now = context.currentTime;
      this.gains.forEach((gain, other) => {
        gain.gain.cancelScheduledValues(now);
        gain.gain.setValueAtTime(gain.gain.value, now);
        gain.gain.linearRampToValueAtTime(other === index ? 1 : 0, now + FADE_S);
      });
    }
    go(place) {
      const playing = this.playing;
      this.stop();
      this.place = Math.max(0, Math.min(place, this.duration - 0.001));
      if (playing) this.start();
    }
    close() {
      this.stop();
      this.gains.forEach((gain) => gain.disconnect());
    }
  }
  async function load(song) {
    context ??= new AudioContext();
    const bytes = (file) => Uint8Array.from(atob(file), (c) => c.charCodeAt(0)).buffer;
    return new Deck(await Promise.all(sounds[song].map((file) => context.decodeAudioData(bytes(file)))));
  }
  async function start() {
    await context.resume();
    deck.start();
    show();
    tick();
  }
  function stop() {
    deck.stop();
    show();
  }
  function fail(words) {
    problem.textContent = words;
    problem.hidden = false;
  }

  // ------------------------------------------------------------------- board

  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;

  function show() {
    if (!deck) return;
    const now = deck.position;
    seek.value = String(now / deck.duration);
    seek.setAttribute("aria-valuetext", clock(now));
    time.textContent = `${clock(now)} / ${clock(Math.round(deck.duration))}`;
    play.classList.toggle("playing", deck.playing);
    play.setAttribute("aria-label", deck.playing ? "Pause" : "Play");
  }
  function tick() {
    if (!deck || !deck.playing) return;
    show();
    requestAnimationFrame(tick);
  }
  // `which` counts the letters; below 0 it is the open reference.
  function choose(which) {
    board.active = which;
    deck.choose(which === REFERENCE ? board.reference : board.items[which].sound);
    reference.setAttribute("aria-pressed", String(which === REFERENCE));
    board.items.forEach((item, index) => {
      item.button.setAttribute("aria-pressed", String(index === which));
      if (index === which) item.heard = true;
    });
    judge();
  }
  function rate(item) {
    item.rated = true;
    item.row.classList.remove("open");
    item.output.textContent = item.range.value;
    item.range.setAttribute("aria-valuetext", item.range.value);
    judge();
    keep();
  }
  // What stands in the way of going on.
  function judge() {
    const open = board.items.filter((item) => !item.rated).map((item) => item.letter);
    const top = board.items.some((item) => Number(item.range.value) === key.highest);
    next.disabled = !board.practice && open.length > 0;
    if (open.length) missing.textContent = `${board.practice ? "Not yet tried" : "Still to rate"}: ${open.join(", ")}`;
    else missing.textContent = top ? "" : `One of these is the reference and should have ${key.highest}.`;
  }
  function makeItem(sound, index) {
    const letter = String.fromCharCode(65 + index);
    const row = document.createElement("div"), button = document.createElement("button");
    const range = document.createElement("input"), output = document.createElement("output");
    row.className = "item open";
    button.type = "button";
    button.textContent = letter;
    button.setAttribute("aria-label", `Hear ${letter}`);
    button.setAttribute("aria-keyshortcuts", letter);
    Object.assign(range, { type: "range", min: "0", max: String(key.highest), step: "1", value: String(MIDDLE) });
    range.setAttribute("aria-label", `Rating of ${letter}`);
    range.setAttribute("aria-valuetext", "not rated");
    output.textContent = "–";
    row.append(button, range, output);
    items.append(row);
    const item = { sound, letter, row, button, range, output, rated: false, heard: false };
    button.addEventListener("click", () => { choose(index); if (!deck.playing) start(); });
    range.addEventListener("focus", () => { if (board.active !== index) choose(index); });
    range.addEventListener("input", () => rate(item));
    range.addEventListener("pointerup", () => rate(item)); // left where it was, but meant
    range.addEventListener("keydown", (event) => { if (event.key === "Enter") rate(item); });
    return item;
  }
  async function open(step) {
    const practice = step === 0, song = session.order[Math.max(step - 1, 0)];
    next.disabled = true;
    if (deck) deck.close();
    deck = null;
    items.replaceChildren();
    const random = randomOf(`${session.words}|${practice ? "practice" : song}`);
    const made = await load(song);
    deck = made;
    board = { step, practice, song, reference: key.songs[song].reference, active: REFERENCE, items: [], began: performance.now() };
    board.items = shuffled(sounds[song].length, random).map(makeItem);
    find("board-title").textContent = practice ? "Practice" : `Song ${step} of ${key.songs.length}`;
    find("board-lead").textContent = practice
      ? "Get to know the page and the range of sounds: play, switch between the reference and the letters, move the sliders. Nothing here is kept."
      : "How close does each version come to the reference?";
    next.textContent = practice ? "Start the test" : step < key.songs.length ? "Next song" : "Finish";
    screen("board");
    progress(practice ? "Practice" : `Song ${step} of ${key.songs.length}`, step);
    choose(REFERENCE);
    show();
    find("board-title").focus();
    scrollTo(0, 0);
  }
  function collect() {
    const song = key.songs[board.song];
    return {
      song: song.song,
      position: board.step,
      start_s: song.start_s,
      end_s: song.end_s,
      loudness_lufs: song.loudness_lufs,
      seconds: Math.round(performance.now() - board.began) / 1000,
      ratings: board.items.map((item) => ({
        condition: song.sounds[item.sound].condition,
        title: song.sounds[item.sound].title,
        label: item.letter,
        score: Number(item.range.value),
        gain_db: song.sounds[item.sound].gain_db,
      })),
    };
  }
  async function advance() {
    if (!board.practice) {
      session.songs.push(collect());
      keep();
    }
    const step = board.step + 1;
    if (step <= key.songs.length) {
      await attempt(() => open(step));
      return;
    }
    deck.close();
    deck = null;
    session.finished ||= new Date().toISOString();
    keep();
    finish();
  }
  function finish() {
    screen("done");
    progress("Done", key.songs.length + 1);
    find("comment").value = session.comment;
    document.getElementById("done-title").focus();
  }

  // ------------------------------------------------------------------ session

  // What is done survives a reload, where the browser keeps anything for pages of the disk.
  const place = (name) => `mixbridge-listening ${key.test.id} ${name}`;
  function keep() {
    try {
      localStorage.setItem(place(session.participant), JSON.stringify(session));
    } catch { /* private windows keep nothing */ }
  }
  function recall(name) {
    try {
      const kept = JSON.parse(localStorage.getItem(place(name)));
      return Array.isArray(kept?.songs) ? kept : null;
    } catch {
      return null;
    }
  }
  function begin(name) {
    const words = `${key.test.id}|${key.test.seed}|${name.normalize("NFC").toLowerCase()}`;
    const fresh = { participant: name, words, comment: "", started: new Date().toISOString(), finished: "", songs: [] };
    session = recall(name) ?? fresh;
    session.order = shuffled(key.songs.length, randomOf(`${words}|songs`));
  }
  function screen(name) {
    document.querySelectorAll("[data-screen]").forEach((one) => { one.hidden = one.dataset.screen !== name; });
  }
  function progress(words, step) {
    find("progress").hidden = false;
    find("progress-text").textContent = words;
    find("steps").replaceChildren(...[...Array(key.songs.length + 1).keys()].map((index) => {
      const bar = document.createElement("i");
      bar.className = index < step ? "past" : index === step ? "now" : "";
      return bar;
    }));
  }
  async function attempt(action) {
    try {
      problem.hidden = true;
      await action();
    } catch (error) {
      fail(`This browser cannot play the sounds of this page (${error.message}). Any current browser can.`);
    }
  }

  // ------------------------------------------------------------------ results

  function results() {
    const { participant, comment, started, finished, songs } = session;
    return { format: key.format, schema_version: key.schema_version, test: key.test, participant, comment, started, finished, songs };
  }
  function csv(data) {
    const cell = (value) => (/[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
    const lines = [key.columns];
    for (const song of data.songs) {
      for (const rating of song.ratings) {
        const row = {
          ...data, ...song, ...rating,
          test_id: data.test.id, test_title: data.test.title, test_seed: data.test.seed, condition_title: rating.title,
        };
        lines.push(key.columns.map((name) => row[name]));
      }
    }
    return `${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;
  }
  function download(kind) {
    session.comment = find("comment").value;
    keep();
    const data = results();
    const body = kind === "json" ? `${JSON.stringify(data, null, 1)}\n` : csv(data);
    const link = document.createElement("a");
    const who = data.participant.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "listener";
    link.download = `listening-${data.test.id}-${who}.${kind}`;
    link.href = URL.createObjectURL(new Blob([body], { type: kind === "json" ? "application/json" : "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    session.saved = true;
  }

  // ------------------------------------------------------------------- events

  volume.addEventListener("click", () => attempt(async () => {
    if (deck) {
      deck.close();
      deck = null;
    } else {
      deck = await load(0);
      deck.active = key.songs[0].reference;
      await context.resume();
      deck.start();
    }
    volume.setAttribute("aria-pressed", String(deck !== null));
    volume.textContent = deck ? "Stop" : "Play a song to set the volume";
  }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.name.value.trim();
    if (!name) {
      form.elements.name.focus();
      return;
    }
    begin(name);
    const done = session.songs.length;
    if (done >= key.songs.length) {
      if (deck) deck.close();
      deck = null;
      finish();
    } else attempt(() => open(done ? done + 1 : 0));
  });
  next.addEventListener("click", () => { next.disabled = true; advance(); });
  play.addEventListener("click", () => (deck.playing ? stop() : attempt(start)));
  reference.addEventListener("click", () => { choose(REFERENCE); if (!deck.playing) attempt(start); });
  seek.addEventListener("input", () => { deck.go(Number(seek.value) * deck.duration); show(); tick(); });
  document.querySelectorAll("[data-download]").forEach((button) => {
    button.addEventListener("click", () => download(button.dataset.download));
  });
  document.addEventListener("keydown", (event) => {
    if (!deck || !board || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const element = event.target instanceof Element ? event.target : document.body;
    if (element.closest("textarea, input[type=text]")) return;
    const letter = event.key.length === 1 ? event.key.toUpperCase() : "";
    const which = letter ? board.items.findIndex((item) => item.letter === letter) : -1;
    if (event.key === " " && !element.closest("button")) play.click(); // a focused button keeps its own space
    else if (letter === "R" || letter === "0") choose(REFERENCE);
    else if (which >= 0) choose(which);
    else return;
    event.preventDefault();
  });
  addEventListener("beforeunload", (event) => {
    if (session && !session.saved && (board || session.songs.length)) event.preventDefault();
  });
})();
