// Axis mathematics of the player: pure functions, no document, no state. Tested with `node --test`.

/** Hz to mel (O'Shaughnessy 1987): m = 2595 log10(1 + f / 700). */
export function hzToMel(hz) {
  return 2595 * Math.log10(1 + hz / 700);
}

/** Mel to Hz, the inverse of hzToMel. */
export function melToHz(mel) {
  return 700 * (10 ** (mel / 2595) - 1);
}

/** Frequency scales by name: monotonic, onto numbers that are spaced evenly on the screen. */
export const SCALES = {
  linear: { to: (hz) => hz, from: (u) => u, low: () => 0 },
  mel: { to: hzToMel, from: melToHz, low: () => 0 },
  // A logarithmic axis has no zero: it begins at 50 Hz, below every speaking voice.
  log: { to: (hz) => Math.log2(hz), from: (u) => 2 ** u, low: () => 50 },
};

/** Frequency in Hz to a height in [0, 1] (0 = bottom) on the scale; frequencies outside the axis are clamped. */
export function hzToUnit(hz, scale, maxHz) {
  const { to, low } = SCALES[scale];
  const bottom = low();
  const inside = Math.min(maxHz, Math.max(bottom, hz));
  return (to(inside) - to(bottom)) / (to(maxHz) - to(bottom));
}

/** Height in [0, 1] to a frequency in Hz, the inverse of hzToUnit inside the axis. */
export function unitToHz(unit, scale, maxHz) {
  const { to, from, low } = SCALES[scale];
  const bottom = to(low());
  const clamped = Math.min(1, Math.max(0, unit));
  return from(bottom + clamped * (to(maxHz) - bottom));
}

/** For each of `height` pixel rows (0 = top): the lowest and highest frequency bin it shows, as two arrays of fractions. The
 * axis ends at `maxHz`, bins are `binHz` apart. */
export function rowBins(height, scale, nBins, maxHz, binHz = maxHz / (nBins - 1)) {
  const low = new Float32Array(height);
  const high = new Float32Array(height);
  for (let y = 0; y < height; y += 1) {
    high[y] = Math.min(nBins - 1, unitToHz(1 - y / height, scale, maxHz) / binHz);
    low[y] = Math.max(0, unitToHz(1 - (y + 1) / height, scale, maxHz) / binHz);
  }
  return { low, high };
}

/** Time in seconds to a pixel column inside `rect` {x, width} for the visible `view` {start, end} in seconds. */
export function timeToX(time, view, rect) {
  return rect.x + ((time - view.start) / (view.end - view.start)) * rect.width;
}

/** Pixel column to time in seconds, the inverse of timeToX. */
export function xToTime(x, view, rect) {
  return view.start + ((x - rect.x) / rect.width) * (view.end - view.start);
}

/** Keep a view of at least `minSpan` seconds inside [0, duration]. */
export function clampView(view, duration, minSpan = 0.05) {
  const span = Math.min(duration, Math.max(Math.min(minSpan, duration), view.end - view.start));
  const start = Math.min(duration - span, Math.max(0, view.start));
  return { start, end: start + span };
}

/** Zoom by `factor` (2 = twice as close) around the time `anchor`, which stays where it is on the screen. */
export function zoomView(view, factor, anchor, duration, minSpan = 0.05) {
  const wanted = (view.end - view.start) / factor;
  const span = Math.min(duration, Math.max(Math.min(minSpan, duration), wanted));
  const share = (anchor - view.start) / (view.end - view.start);
  return clampView({ start: anchor - share * span, end: anchor + (1 - share) * span }, duration, minSpan);
}

/** Move the view by `seconds`, stopping at both ends of the recording. */
export function panView(view, seconds, duration) {
  return clampView({ start: view.start + seconds, end: view.end + seconds }, duration, view.end - view.start);
}

/** The view that shows `time`: unchanged where it does already, else turned like a page. */
export function followView(view, time, duration) {
  const span = view.end - view.start;
  if (time >= view.start && time <= view.end) return view;
  return clampView({ start: time - 0.05 * span, end: time + 0.95 * span }, duration, span);
}

/** Keep a playback position inside the recording. */
export function clampSeek(time, duration) {
  return Number.isFinite(time) ? Math.min(duration, Math.max(0, time)) : 0;
}

/** Two ends of a drag as a region {start, end} inside the recording; null when shorter than `minimum` seconds. */
export function region(a, b, duration, minimum = 0.02) {
  const start = clampSeek(Math.min(a, b), duration);
  const end = clampSeek(Math.max(a, b), duration);
  return end - start >= minimum ? { start, end } : null;
}

/** Two corners {time, hz} of a drag as a box {start, end, low, high}; null where it is too short or too flat. */
export function boxed(a, b, duration, maxHz) {
  const found = region(a.time, b.time, duration);
  const low = Math.max(0, Math.min(a.hz, b.hz));
  const high = Math.min(maxHz, Math.max(a.hz, b.hz));
  return found && high - low >= 20 ? { ...found, low, high } : null;
}

/** Whether two marked regions are one: the same time within 1 ms and the same frequencies within 1 Hz. */
export function sameRegion(a, b) {
  const near = (x, y, within) => (x == null && y == null) || (x != null && y != null && Math.abs(x - y) <= within);
  return near(a.start, b.start, 1e-3) && near(a.end, b.end, 1e-3) && near(a.low, b.low, 1) && near(a.high, b.high, 1);
}

/** Rows for labels [{x, width}], so that none lies over another: the first row where each has room. */
export function lanes(labels) {
  const ends = [];
  return labels.map(({ x, width }) => {
    let lane = ends.findIndex((end) => end <= x);
    if (lane < 0) lane = ends.length;
    ends[lane] = x + width + 4;
    return lane;
  });
}

/** The longest beginning of a text that `fits(text)`, with "…" where it was cut; "" where not even one letter fits. */
export function cutText(text, fits) {
  if (fits(text)) return text;
  for (let n = text.length - 1; n > 0; n -= 1) if (fits(`${text.slice(0, n)}…`)) return `${text.slice(0, n)}…`;
  return "";
}

/** Where a sound is after `elapsed` seconds from `offset` at a `speed`; inside a loop {start, end} it wraps around. */
export function playhead(offset, elapsed, duration, loop, speed = 1) {
  const time = offset + speed * elapsed;
  if (!loop || time < loop.end) return Math.min(duration, time);
  return loop.start + ((time - loop.start) % (loop.end - loop.start));
}

/** Round steps (1, 2 or 5 times a power of ten) so that at most `most` ticks lie in [low, high]. */
export function niceTicks(low, high, most) {
  const span = high - low;
  if (!(span > 0) || most < 1) return [];
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => span / s <= most);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) ticks.push(+(i * step).toPrecision(12));
  return ticks;
}

/** Frequencies in Hz worth a label on the scale, from those that are at least `gap` (a share of the height) apart. */
export function frequencyTicks(scale, maxHz, gap = 0.08) {
  const wanted = scale === "linear" ? niceTicks(0, maxHz, Math.floor(1 / gap)) : [8000, 4000, 2000, 1000, 500, 250, 125, 50, 0, 16000, 6000, 3000];
  const kept = [];
  for (const hz of wanted) {
    if (hz > maxHz || hz < SCALES[scale].low()) continue;
    if (kept.every((other) => Math.abs(hzToUnit(other, scale, maxHz) - hzToUnit(hz, scale, maxHz)) >= gap)) kept.push(hz);
  }
  return kept.sort((a, b) => a - b);
}

/** Seconds as a reader says them: 1.25 s below a minute, 2:05.3 above; `digits` after the point. */
export function formatTime(seconds, digits = 2) {
  const scale = 10 ** digits;
  const rounded = Math.round(seconds * scale) / scale;
  if (rounded < 60) return `${rounded.toFixed(digits)} s`;
  const minutes = Math.floor(rounded / 60);
  return `${minutes}:${(rounded - 60 * minutes).toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
}

/** Hz as a reader says it: 440 Hz, 2.4 kHz. */
export function formatHz(hz) {
  return hz < 1000 ? `${Math.round(hz)} Hz` : `${+(hz / 1000).toFixed(2)} kHz`;
}

/** The smallest code that the strongest `share` of all bins reach, from a histogram of 256 codes; 0 is never shown. */
export function thresholdCode(histogram, share) {
  let total = 0;
  for (const n of histogram) total += n;
  const budget = share * total;
  let count = 0;
  for (let code = 255; code > 0; code -= 1) {
    count += histogram[code];
    if (count > budget) return Math.min(255, code + (count - histogram[code] > 0 ? 1 : 0));
  }
  return 1;
}

/** Evidence in [0, 1] of a code 0..255: codes are spaced by the square root, so that weak evidence keeps its shades. */
export function evidenceOfCode(code) {
  return (code / 255) ** 2;
}

/** Stretches of time in which `mask` (one number a frame) is over 0, gaps and stretches under `least` seconds dropped. */
export function stretches(mask, frameRate, least = 0.03) {
  const found = [];
  for (let i = 0; i < mask.length; i += 1) {
    if (!(mask[i] > 0)) continue;
    let j = i;
    while (j + 1 < mask.length && mask[j + 1] > 0) j += 1;
    found.push({ start: Math.max(0, (i - 0.5) / frameRate), end: (j + 0.5) / frameRate });
    i = j;
  }
  const joined = [];
  for (const item of found) {
    const last = joined[joined.length - 1];
    if (last && item.start - last.end < least) last.end = item.end;
    else joined.push({ ...item });
  }
  return joined.filter((item) => item.end - item.start >= least);
}

/** The fewest frames that together hold `share` of the evidence, as a mask of 0 and 1 (ties: earlier frames first). */
export function strongestFrames(overFrames, share = 0.5) {
  const order = Array.from(overFrames.keys()).sort((a, b) => overFrames[b] - overFrames[a] || a - b);
  let total = 0;
  for (const v of overFrames) total += v;
  const mask = new Uint8Array(overFrames.length);
  let held = 0;
  for (const t of order) {
    if (!(total > 0) || held >= share * total - 1e-9 * total) break;
    mask[t] = 1;
    held += overFrames[t];
  }
  return mask;
}
