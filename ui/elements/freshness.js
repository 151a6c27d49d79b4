// Counts in the browser: a server that is gone sends nothing, and what it showed last must not look like now.
// One state for the whole window: a component that was replaced must not go on counting beside its successor.
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

function check() {
  const { received, receivedAt, at, data } = window.mcqaFreshness;
  // performance.now() stands still while the machine sleeps; Date.now() may be set back.
  const silent = Math.max(performance.now() - received, Date.now() - receivedAt);
  const stale = silent > data.limit * 1000;
  if (stale === document.body.classList.contains("mcqa-stale")) return;
  document.body.classList.toggle("mcqa-stale", stale);
  // Beside the application, which is grey now; read out at once.
  child(document.body, BANNER, "alert").textContent = stale ? data.stale.replace("{time}", at) : "";
}

export default function ({ data, parentElement }) {
  document.documentElement.lang = data.lang;
  const last = window.mcqaFreshness;
  if (!last || last.data.at < data.at) {
    const at = new Intl.DateTimeFormat(data.lang, { timeStyle: "medium" }).format(new Date());
    window.mcqaFreshness = { received: performance.now(), receivedAt: Date.now(), at, data };
    if (!last) {
      setInterval(check, 1000);
      // In a hidden tab timers run once a minute: what somebody comes back to is checked at once.
      document.addEventListener("visibilitychange", check);
    }
  }
  const { at } = window.mcqaFreshness;
  child(parentElement, "mcqa-freshness").textContent = data.fresh.replace("{time}", at);
  check();
}
