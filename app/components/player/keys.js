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
  { keys: ["m"], shown: "M", action: "keep", says: "keep the region for the export" },
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
  { keys: [","], shown: ", .", action: "strongest", amount: -1, says: "show fewer or more bins" },
  { keys: ["."], action: "strongest", amount: 1 },
  { keys: ["c"], shown: "C", action: "scheme", says: "next color map" },
  { keys: ["f"], shown: "F", action: "axis", says: "next frequency axis" },
  { keys: ["?"], shown: "?", action: "help", says: "show or hide the keys" },
];

/** The action of a key press {key, shiftKey, ctrlKey, altKey, metaKey}, or null where the browser keeps the key. */
export function keyAction(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const found = KEYS.find((entry) => entry.keys.includes(key));
  if (!found) return null;
  const amount = found.action === "step" && event.shiftKey ? 10 * found.amount : found.amount;
  return { action: found.action, amount };
}
