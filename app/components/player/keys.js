// What each key does: one table for the player, for its help and for the tests.

export const KEYS = [
  { keys: [" ", "k"], shown: "Space", action: "toggle", says: "play or pause" },
  { keys: ["ArrowLeft"], shown: "← →", action: "step", amount: -0.05, says: "step 50 ms (with Shift 0.5 s)" },
  { keys: ["ArrowRight"], action: "step", amount: 0.05 },
  { keys: ["Home"], shown: "Home End", action: "start", says: "go to the start or the end" },
  { keys: ["End"], action: "end" },
  { keys: ["1"], shown: "1 2 3", action: "sound", amount: 0, says: "hear the original, what is kept, what is left when it is removed" },
  { keys: ["2"], action: "sound", amount: 1 },
  { keys: ["3"], action: "sound", amount: 2 },
  { keys: ["["], shown: "[ ]", action: "mark_start", says: "begin or end a region here" },
  { keys: ["]"], action: "mark_end" },
  { keys: ["l"], shown: "L", action: "loop", says: "repeat the region" },
  { keys: ["h"], shown: "H", action: "slow", says: "half speed at the same pitch" },
  { keys: ["b"], shown: "B", action: "box", says: "the region as a box of frequencies, or of all of them" },
  { keys: ["ArrowUp"], shift: true, shown: "Shift ↑ ↓", action: "box_high", amount: 100, says: "move the upper edge of the box (with Page, the lower)" },
  { keys: ["ArrowDown"], shift: true, action: "box_high", amount: -100 },
  { keys: ["PageUp"], shift: true, action: "box_low", amount: 100 },
  { keys: ["PageDown"], shift: true, action: "box_low", amount: -100 },
  { keys: ["m"], shown: "M", action: "keep", says: "keep the region as a note" },
  { keys: ["Delete", "Backspace"], shown: "Del", action: "forget", says: "delete the selected note" },
  { keys: ["n"], shown: "N", action: "segment", amount: 1, says: "select the next segment or note (with Shift the one before)" },
  { keys: ["n"], shift: true, action: "segment", amount: -1 },
  { keys: ["v"], shown: "V", action: "measure", says: "measure the region" },
  { keys: ["Escape"], shown: "Esc", action: "clear", says: "clear the region" },
  { keys: ["+", "="], shown: "+ −", action: "zoom", amount: 1.6, says: "zoom in or out" },
  { keys: ["-", "_"], action: "zoom", amount: 1 / 1.6 },
  { keys: ["0"], shown: "0", action: "fit", says: "see the whole recording" },
  { keys: ["z"], shown: "Z", action: "zoom_region", says: "zoom to the region" },
  { keys: ["PageUp"], shown: "Page ↑ ↓", action: "page", amount: -0.8, says: "move the view" },
  { keys: ["PageDown"], action: "page", amount: 0.8 },
  { keys: ["ArrowUp"], shown: "↑ ↓", action: "opacity", amount: 0.1, says: "evidence stronger or weaker" },
  { keys: ["ArrowDown"], action: "opacity", amount: -0.1 },
  { keys: [","], shown: ", .", action: "strongest", amount: -1, says: "show fewer or more places" },
  { keys: ["."], action: "strongest", amount: 1 },
  { keys: ["c"], shown: "C", action: "scheme", says: "next color map" },
  { keys: ["f"], shown: "F", action: "axis", says: "next frequency axis" },
  { keys: ["w"], shown: "W", action: "wide", says: "wide-band or the model's spectrogram" },
  { keys: ["t"], shown: "T", action: "formants", says: "show or hide formants" },
  { keys: ["?"], shown: "?", action: "help", says: "show or hide the keys" },
];

/** The action of a key press {key, shiftKey, ctrlKey, altKey, metaKey}, or null where the browser keeps the key. */
export function keyAction(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const entries = KEYS.filter((entry) => entry.keys.includes(key));
  const found = entries.find((entry) => Boolean(entry.shift) === event.shiftKey) ?? entries.find((entry) => !entry.shift);
  if (!found) return null;
  const amount = found.action === "step" && event.shiftKey ? 10 * found.amount : found.amount;
  return { action: found.action, amount };
}
