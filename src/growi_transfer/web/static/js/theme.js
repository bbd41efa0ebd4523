// The colours chosen in the header, before anything is drawn. A plain script, not a module: modules run too late.
(() => {
  try {
    const kept = localStorage.getItem("growi-transfer.theme");
    if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
  } catch {
    // a browser that keeps nothing follows the system
  }
})();
