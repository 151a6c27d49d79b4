// Ctrl+Enter in one of the fields presses the button, and what came of it gets the focus, once. Shows nothing itself.
const SETTLE_MS = 100;
const TRIES = 40;

function press(event, { fields, button }) {
  if (event.target.closest?.(button)) window.mcqaElsewhere = false;
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  const field = event.target.closest?.("textarea, input");
  if (!field?.closest(fields)) return;
  window.mcqaElsewhere = false;
  field.blur(); // Streamlit sends what was typed then, as when somebody clicks elsewhere
  setTimeout(() => document.querySelector(`${button} button:not(:disabled)`)?.click(), SETTLE_MS);
}

// Not from under somebody who does something else meanwhile. The target may be put into the document after us.
function focus({ arrived, target, button }, tries = TRIES) {
  if (!arrived || window.mcqaArrived === arrived) return;
  const found = document.querySelector(target);
  if (!found) {
    if (tries) setTimeout(() => focus({ arrived, target, button }, tries - 1), SETTLE_MS);
    return;
  }
  window.mcqaArrived = arrived;
  const here = document.activeElement;
  if (window.mcqaElsewhere || (here && here !== document.body && !here.closest(button))) return;
  found.tabIndex = -1;
  found.focus();
}

// One listener for the whole window: Streamlit calls this again with each answer, and not always the end of the last.
export default function ({ data }) {
  document.removeEventListener("keydown", window.mcqaKeyboard);
  document.removeEventListener("pointerdown", window.mcqaPointer, true);
  const listener = (event) => press(event, data);
  const pointer = (event) => { window.mcqaElsewhere = !event.target.closest?.(data.button); };
  [window.mcqaKeyboard, window.mcqaPointer] = [listener, pointer];
  document.addEventListener("keydown", listener);
  document.addEventListener("pointerdown", pointer, true);
  focus(data);
  return () => {
    document.removeEventListener("keydown", listener);
    document.removeEventListener("pointerdown", pointer, true);
  };
}
