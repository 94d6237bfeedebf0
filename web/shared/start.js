// Starts the program of the page once its first frame is drawn: reading and running the program takes longer than that frame.
(() => {
  /** How long the frame may take, in milliseconds. A page that nobody sees has none. */
  const LIMIT_MS = 250;

  let isStarted = false;
  const start = () => {
    if (isStarted) return;
    isStarted = true;
    document.body.append(document.getElementById("program").content.cloneNode(true));
  };
  addEventListener("DOMContentLoaded", () => {
    requestAnimationFrame(() => setTimeout(start));
    setTimeout(start, LIMIT_MS);
  });
})();
