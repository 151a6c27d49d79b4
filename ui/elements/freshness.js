// Counts in the browser: a server that is gone sends nothing, and what it showed last must not look like now.
const BANNER = "mcqa-stale-banner";

function child(parent, className, role) {
  let made = parent.querySelector(`:scope > .${className}`);
  if (!made) {
    made = document.createElement("div");
    made.className = className;
    if (role) made.setAttribute("role", role);
    parent.append(made);
  }
  return made;
}

export default function ({ data, parentElement }) {
  document.documentElement.lang = data.lang;
  const received = performance.now();
  const at = new Intl.DateTimeFormat(data.lang, { timeStyle: "medium" }).format(new Date());
  child(parentElement, "mcqa-freshness").textContent = data.fresh.replace("{time}", at);
  function show() {
    const stale = performance.now() - received > data.limit * 1000;
    if (stale === document.body.classList.contains("mcqa-stale")) return;
    document.body.classList.toggle("mcqa-stale", stale);
    // Beside the application, which is grey now; read out at once.
    child(document.body, BANNER, "alert").textContent = stale ? data.stale.replace("{time}", at) : "";
  }
  show();
  const timer = setInterval(show, 1000);
  return () => clearInterval(timer);
}
