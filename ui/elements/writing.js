// A text that grows. Set by textContent only; what is there stays, so that a reader keeps the selection and the place.
// A screen reader is told once, at the end: read out piece by piece, nobody could follow.
function part(root, className, role) {
  let made = root.querySelector(`:scope > .${className}`);
  if (!made) {
    made = document.createElement("div");
    made.className = className;
    if (role) made.setAttribute("role", role);
    root.append(made);
  }
  return made;
}

export default function ({ data, parentElement }) {
  const root = part(parentElement, "mcqa-writing");
  root.lang = data.lang;
  const text = part(root, "text");
  const said = part(root, "said", "status");
  text.setAttribute("aria-busy", String(!data.end));
  const shown = text.textContent;
  if (shown && data.text.startsWith(shown)) text.append(data.text.slice(shown.length));
  else if (shown !== data.text) text.textContent = data.text;
  if (said.textContent !== data.end) said.textContent = data.end;
}
