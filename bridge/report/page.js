// The rest of the page: which spectrograms are seen, and the settings sheet to copy and print.
(() => {
  const pictures = [...document.querySelectorAll("[data-picture]")], plots = [...document.querySelectorAll("[data-take]")];
  function picture(take) {
    plots.forEach((plot) => { plot.hidden = plot.dataset.take !== take; });
    pictures.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.picture === take)));
  }
  if (pictures.length) {
    document.querySelector("[data-pictures]").hidden = false;
    pictures.forEach((button) => button.addEventListener("click", () => picture(button.dataset.picture)));
    picture(pictures[0].dataset.picture);
  }

  const sheet = document.querySelector("[data-markdown]"), copy = document.querySelector("[data-copy]");
  const COPIED_MS = 2000, label = copy.textContent;
  async function copySheet() {
    try {
      await navigator.clipboard.writeText(sheet.value);
    } catch {
      // Pages that are opened from a disk may not use the clipboard everywhere; a selection may be copied.
      sheet.hidden = false;
      sheet.select();
      document.execCommand("copy");
      sheet.hidden = true;
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = label; }, COPIED_MS);
  }
  copy.addEventListener("click", copySheet);
  document.querySelector("[data-print]").addEventListener("click", () => {
    document.documentElement.classList.add("sheet-only");
    window.print();
    document.documentElement.classList.remove("sheet-only");
  });
  document.querySelector("[data-sheet-tools]").hidden = false;
  // A link to a channel shows it even where another is alone.
  window.addEventListener("hashchange", () => solo("", false));
})();
