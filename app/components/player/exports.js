// What a reader takes away: regions for Praat and Audacity, sounds as WAV, the picture as PNG. All made in the browser.

/** Regions dealt into tiers in which none lies over another: a tier of Praat has no room for two at a time. */
export function tiersOf(regions) {
  const tiers = [];
  for (const item of [...regions].sort((a, b) => a.start - b.start || a.end - b.end)) {
    const free = tiers.find((tier) => tier[tier.length - 1].end <= item.start + 1e-6);
    if (free) free.push(item);
    else tiers.push([item]);
  }
  return tiers.length ? tiers : [[]];
}

/** Regions [{start, end, label}] as a Praat TextGrid of interval tiers that cover the whole recording. */
export function textGrid(regions, duration, tierName = "evidence") {
  const tiers = tiersOf(regions);
  const lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", `xmax = ${duration}`, "tiers? <exists>", `size = ${tiers.length}`, "item []:"];
  tiers.forEach((tier, i) => lines.push(...tierLines(tier, duration, i ? `${tierName} ${i + 1}` : tierName, i + 1)));
  return `${lines.join("\n")}\n`;
}

function tierLines(regions, duration, tierName, place) {
  const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const intervals = [];
  let at = 0;
  for (const item of regions) {
    const start = Math.max(at, item.start);
    const end = Math.min(duration, item.end);
    if (end - start < 1e-6) continue;
    if (start - at > 1e-6) intervals.push({ start: at, end: start, label: "" });
    intervals.push({ start, end, label: item.label ?? "" });
    at = end;
  }
  if (duration - at > 1e-6) intervals.push({ start: at, end: duration, label: "" });
  const lines = [`    item [${place}]:`, '        class = "IntervalTier"', `        name = ${quote(tierName)}`, "        xmin = 0", `        xmax = ${duration}`, `        intervals: size = ${intervals.length}`];
  intervals.forEach((item, i) => {
    lines.push(`        intervals [${i + 1}]:`, `            xmin = ${item.start}`, `            xmax = ${item.end}`, `            text = ${quote(item.label)}`);
  });
  return lines;
}

/** Regions as an Audacity label track: start, end and label, separated by tabs; a box has its frequencies on a line of its own. */
export function audacityLabels(regions) {
  const box = (r) => (r.low == null ? "" : `\\\t${r.low.toFixed(6)}\t${r.high.toFixed(6)}\n`);
  return [...regions].sort((a, b) => a.start - b.start).map((r) => `${r.start.toFixed(6)}\t${r.end.toFixed(6)}\t${String(r.label ?? "").replace(/[\t\n]/g, " ")}\n${box(r)}`).join("");
}

/** 16-bit mono samples as the bytes of a WAV file. */
export function wav(samples, rate) {
  const bytes = new Uint8Array(44 + 2 * samples.length);
  const data = new DataView(bytes.buffer);
  const text = (at, letters) => [...letters].forEach((letter, i) => data.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  data.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  data.setUint32(16, 16, true);
  data.setUint16(20, 1, true);
  data.setUint16(22, 1, true);
  data.setUint32(24, rate, true);
  data.setUint32(28, 2 * rate, true);
  data.setUint16(32, 2, true);
  data.setUint16(34, 16, true);
  text(36, "data");
  data.setUint32(40, 2 * samples.length, true);
  for (let i = 0; i < samples.length; i += 1) data.setInt16(44 + 2 * i, samples[i], true);
  return bytes;
}

/** Hand a file to the reader without a server: a link to a blob, clicked and forgotten. */
export function download(parts, type, name) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A file name without anything a file system refuses. */
export function fileName(title, ending) {
  return `${title.normalize("NFKD").replace(/[^\w.-]+/g, "_").replace(/^_+|_+$/g, "").slice(0, 80) || "recording"}${ending}`;
}
