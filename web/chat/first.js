// Decides before the page is drawn which of its two faces it has, so that it is whole with its first answer.
(() => {
  const root = document.documentElement;
  const asked = new URLSearchParams(location.search);
  const about = JSON.parse(document.querySelector("meta[name=gateway]").content || "null");
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem("who"));
  } catch {
    // The browser allows this page no storage.
  }
  const isKnown = kept !== null || (asked.has("user") && about?.tokens === false);
  root.dir = asked.get("dir") === "rtl" ? "rtl" : "ltr";
  if (about) root.dataset.tokens = String(about.tokens);
  if (about || isKnown) root.dataset.face = isKnown ? "app" : "sign-in";
})();
