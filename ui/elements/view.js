// Builds the given nodes. Texts are set by textContent only, and a link's address is checked: nothing is parsed as HTML.
const SIGNS = { good: "✓", bad: "✗", warn: "▲", wait: "…", sleep: "☾", info: "•" };
const STYLES = {
  datetime: { dateStyle: "medium", timeStyle: "medium" },
  time: { timeStyle: "medium" },
  date: { dateStyle: "medium" },
};
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function element(name, { text, className, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function ago(seconds, lang) {
  const left = Math.max(seconds, 0);
  const [unit, size] = UNITS.find(([, size]) => left >= size) || UNITS[3];
  return new Intl.RelativeTimeFormat(lang, { numeric: "always" }).format(-Math.floor(left / size), unit);
}

function link({ text, href }) {
  const ours = /^(\/(?!\/)|\?)/.test(href);
  if (!ours && !/^https?:\/\//.test(href)) return element("span", { text });
  if (!ours) return element("a", { text, href, target: "_blank", rel: "noopener noreferrer" });
  const address = new URL(href, document.baseURI);
  if (address.origin !== window.location.origin) return element("span", { text });
  const lang = new URLSearchParams(window.location.search).get("lang");
  if (lang && !address.searchParams.has("lang")) address.searchParams.set("lang", lang);
  return element("a", { text, href: address.href, target: "_self", "data-mcqa-within": "" });
}

// From Ask, where something was typed, a link must not begin a new session: Streamlit shows another page without a load
// when the browser goes back or forth. Elsewhere a load is right: it shows what the address says, whatever was chosen.
function follow(event) {
  const anchor = event.target.closest?.("a[data-mcqa-within]");
  const another = event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (!anchor || another || event.defaultPrevented || window.location.pathname !== "/") return;
  event.preventDefault();
  history.pushState({}, "", anchor.href);
  window.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
  document.querySelector('[data-testid="stMain"]')?.scrollTo(0, 0);
}

if (!window.mcqaFollows) {
  window.mcqaFollows = true;
  document.addEventListener("click", follow);
}

function time({ at, style }, lang) {
  const moment = new Date(at * 1000);
  const full = new Intl.DateTimeFormat(lang, STYLES.datetime).format(moment);
  const made = element("time", { datetime: moment.toISOString(), title: full });
  made.textContent = style === "ago" ? ago(Date.now() / 1000 - at, lang) : new Intl.DateTimeFormat(lang, STYLES[style]).format(moment);
  if (style === "ago") made.dataset.ago = at;
  return made;
}

function bar({ share, text }) {
  const fill = element("span", { className: "fill" });
  fill.style.width = `${100 * share}%`;
  return element("span", { className: "bar" }, element("span", { className: "track", "aria-hidden": "true" }, fill), element("span", { text }));
}

function cell(part, lang) {
  if (Array.isArray(part)) return element("span", {}, ...part.map((inner) => cell(inner, lang)));
  if (typeof part !== "object") return document.createTextNode(part);
  switch (part.k) {
    case "link": return link(part);
    case "time": return time(part, lang);
    case "bar": return bar(part);
    case "code": return element("code", { text: part.text });
    case "strong": return element("strong", { text: part.text });
    case "badge":
      return element("span", { className: `badge ${part.kind}` }, element("span", { text: SIGNS[part.kind] || "•", "aria-hidden": "true" }), element("span", { text: part.text }));
  }
  return document.createTextNode("");
}

const builders = {
  p: ({ parts }, lang) => element("p", {}, ...parts.map((part) => cell(part, lang))),
  h: ({ level, text }) => element(`h${level}`, { text }),
  notice: ({ kind, word, parts }, lang) =>
    element(
      "div", { className: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
      element("strong", { className: "kind", text: `${word}: ` }), ...parts.map((part) => cell(part, lang)),
    ),
  dl: ({ items }, lang) =>
    element("dl", {}, ...items.flatMap(([name, value]) => [element("dt", { text: name }), element("dd", {}, cell(value, lang))])),
  table: ({ caption, hide, stack, columns, numeric, rows }, lang) => {
    // A table whose parts are blocks is none for a screen reader, unless its roles are written down.
    const role = (name) => (stack ? { role: name } : {});
    const align = (place) => (numeric.includes(place) ? "number" : "");
    const head = element("tr", role("row"), ...columns.map((text, place) => element("th", { text, scope: "col", className: align(place), ...role("columnheader") })));
    const body = rows.map((row) =>
      element("tr", role("row"), ...row.map((value, place) => {
        const labelled = { className: align(place), ...(stack ? { "data-label": columns[place] } : {}) };
        if (place === 0) return element("th", { ...labelled, scope: "row", ...role("rowheader") }, cell(value, lang));
        return element("td", { ...labelled, ...role("cell") }, cell(value, lang));
      })),
    );
    const made = element(
      "table", { className: stack ? "stack" : "", ...role("table") },
      element("caption", { text: caption, className: hide ? "hidden" : "" }),
      element("thead", role("rowgroup"), head), element("tbody", role("rowgroup"), ...body),
    );
    return element("div", { className: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
  },
};

// A live part is sent again every few seconds. What did not change is kept, or a reader would lose the focus and the
// selection, and a screen reader would read its alerts out again.
function update(root, data) {
  const next = JSON.stringify(data);
  if (root.mcqaShown === next) return;
  root.mcqaShown = next;
  const place = focusable(root).indexOf(root.ownerDocument.activeElement);
  root.lang = data.lang;
  root.replaceChildren(builders[data.node.t](data.node, data.lang));
  if (place >= 0) focusable(root)[place]?.focus({ preventScroll: true });
}

function focusable(root) {
  return [...root.querySelectorAll("a[href], [tabindex]")];
}

export default function ({ data, parentElement }) {
  let root = parentElement.querySelector(":scope > .mcqa-view");
  if (!root) {
    root = element("div", { className: "mcqa-view" });
    parentElement.append(root);
  }
  update(root, data);
  const counting = root.querySelectorAll("[data-ago]");
  if (!counting.length) return undefined;
  const timer = setInterval(() => {
    for (const each of counting) each.textContent = ago(Date.now() / 1000 - Number(each.dataset.ago), data.lang);
  }, 5000);
  return () => clearInterval(timer);
}
