// Ctrl+Enter in one of the fields presses the button, and what came of it gets the focus, once. Shows nothing itself.
const SETTLE_MS = 100;
const TRIES = 40;

function press(event, { fields, button }) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  const field = event.target.closest?.("textarea, input");
  if (!field?.closest(fields)) return;
  field.blur(); // Streamlit sends what was typed then, as when somebody clicks elsewhere
  setTimeout(() => document.querySelector(`${button} button:not(:disabled)`)?.click(), SETTLE_MS);
}

// Not from under somebody who types the next question meanwhile. The target may be put into the document after us.
function focus({ arrived, target }, tries = TRIES) {
  if (!arrived || window.mcqaArrived === arrived) return;
  const found = document.querySelector(target);
  if (!found) {
    if (tries) setTimeout(() => focus({ arrived, target }, tries - 1), SETTLE_MS);
    return;
  }
  window.mcqaArrived = arrived;
  if (document.activeElement?.matches("textarea, input, select, [contenteditable]")) return;
  found.tabIndex = -1;
  found.focus();
}

// One listener for the whole window: Streamlit calls this again with each answer, and not always the end of the last.
export default function ({ data }) {
  document.removeEventListener("keydown", window.mcqaKeyboard);
  const listener = (event) => press(event, data);
  window.mcqaKeyboard = listener;
  document.addEventListener("keydown", listener);
  focus(data);
  return () => document.removeEventListener("keydown", listener);
}
