// The tracks under the picture: everything on the one time axis.
import { cutText, niceTicks, timeToX } from "./axis.js";
import { INK, setFont, write } from "./draw.js";

const VOICING = ["pause", "unvoiced", "voiced"];
const VOICING_COLOR = ["#ffffff", "#b9cfd0", "#0b6670"];

/** Which tracks a recording has, top to bottom, with their heights in pixels. */
export function trackList(model, short) {
  const list = [
    { name: "waveform", title: "wave", height: short ? 30 : 38 },
    { name: "evidence", title: "evidence", height: short || model.header.bare ? 0 : 30 },
    { name: "f0", title: "F0, Hz", height: short ? 0 : 46 },
    { name: "voicing", title: "voice", height: 12 },
  ];
  for (const tier of model.header.tiers ?? []) list.push({ name: "tier", title: tier.name, tier, height: 20 });
  return list.filter((track) => track.height > 0 && !(track.name === "f0" && !model.f0.some((v) => v > 0)));
}

/** Smallest and largest sample of every pixel column: the outline of a waveform. */
export function outline(samples, rate, view, width) {
  const low = new Float32Array(width);
  const high = new Float32Array(width);
  const perPixel = ((view.end - view.start) * rate) / width;
  for (let x = 0; x < width; x += 1) {
    const first = Math.floor(view.start * rate + x * perPixel);
    const last = Math.min(samples.length - 1, Math.max(first + 1, Math.floor(first + perPixel)));
    let a = 32767;
    let b = -32768;
    // A stride keeps a three-minute outline under the time of a frame; 64 looks a column miss nothing visible.
    const stride = Math.max(1, Math.floor((last - first) / 64));
    for (let i = first; i <= last; i += stride) {
      if (samples[i] < a) a = samples[i];
      if (samples[i] > b) b = samples[i];
    }
    low[x] = a / 32768;
    high[x] = b / 32768;
  }
  return { low, high };
}

/** Draw one track into its rectangle. */
export function drawTrack(context, rect, model, state) {
  context.fillStyle = "#ffffff";
  context.fillRect(rect.x, rect.y, rect.width, rect.height);
  context.strokeStyle = INK.faint;
  context.strokeRect(rect.x - 0.5, rect.y - 0.5, rect.width + 1, rect.height + 1);
  setFont(context, false, true);
  const title = cutText(rect.title, (part) => context.measureText(part).width <= rect.x - 9);
  write(context, title, rect.x - 7, rect.y + rect.height / 2, { align: "right", small: true });
  context.save();
  context.beginPath();
  context.rect(rect.x, rect.y, rect.width, rect.height);
  context.clip();
  ({ waveform, evidence, f0: pitch, voicing, tier })[rect.name](context, rect, model, state);
  context.restore();
}

function waveform(context, rect, model, state) {
  const sound = model.sounds[state.sound];
  if (!sound) return;
  const { low, high } = outline(sound.samples, model.header.sample_rate_hz, state.view, Math.max(1, Math.round(rect.width)));
  const middle = rect.y + rect.height / 2;
  const scale = (rect.height / 2 - 1) / (model.header.peak || 1);
  context.fillStyle = INK.voice;
  for (let x = 0; x < low.length; x += 1) {
    const top = middle - high[x] * scale;
    context.fillRect(rect.x + x, top, 1, Math.max(1, (high[x] - low[x]) * scale));
  }
}

function evidence(context, rect, model, state) {
  const { overFrames } = state.sums;
  const rate = model.header.frame_rate_hz;
  let most = 0;
  for (const v of overFrames) if (v > most) most = v;
  if (most <= 0) {
    write(context, "no evidence", rect.x + 6, rect.y + rect.height / 2, { small: true });
    return;
  }
  const [r, g, b] = state.trackColor;
  context.fillStyle = `rgba(${r},${g},${b},0.75)`;
  const width = Math.round(rect.width);
  for (let x = 0; x < width; x += 1) {
    const first = Math.round((state.view.start + (x / width) * (state.view.end - state.view.start)) * rate);
    const last = Math.max(first, Math.round((state.view.start + ((x + 1) / width) * (state.view.end - state.view.start)) * rate) - 1);
    let value = 0;
    for (let t = first; t <= Math.min(last, overFrames.length - 1); t += 1) if (overFrames[t] > value) value = overFrames[t];
    const height = (value / most) * (rect.height - 2);
    context.fillRect(rect.x + x, rect.y + rect.height - height, 1, height);
  }
}

/** Ends of the pitch axis, Hz: the middle 96 % of the voiced frames with a margin, at least six semitones apart, so that a
 * steady voice does not look unsteady. */
export function pitchRange(f0) {
  const voiced = Array.from(f0).filter((v) => v > 0).sort((a, b) => a - b);
  let low = voiced[Math.floor(0.02 * voiced.length)] * 0.95;
  let high = voiced[Math.floor(0.98 * (voiced.length - 1))] * 1.05;
  const missing = 2 ** 0.5 / (high / low);
  if (missing > 1) [low, high] = [low / missing ** 0.5, high * missing ** 0.5];
  return { low, high };
}

/** Round frequencies of the pitch axis: two at least, four at most. */
export function pitchTicks(low, high) {
  for (const most of [3, 4, 5, 6, 8]) {
    const ticks = niceTicks(low, high, most);
    if (ticks.length >= 2) return ticks;
  }
  return [Math.round(low), Math.round(high)];
}

function pitch(context, rect, model, state) {
  const rate = model.header.frame_rate_hz;
  const { low, high } = pitchRange(model.f0);
  const y = (hz) => rect.y + rect.height - 4 - (Math.log2(hz / low) / Math.log2(high / low)) * (rect.height - 8);
  const marks = [];
  for (const hz of pitchTicks(low, high)) if (marks.every((m) => Math.abs(y(m) - y(hz)) >= 12)) marks.push(hz);
  context.fillStyle = INK.faint;
  for (const hz of marks) context.fillRect(rect.x, Math.round(y(hz)), rect.width, 1);
  context.strokeStyle = INK.voice;
  context.lineWidth = 1.6;
  context.beginPath();
  let drawing = false;
  const first = Math.max(0, Math.floor(state.view.start * rate));
  const last = Math.min(model.f0.length - 1, Math.ceil(state.view.end * rate));
  for (let t = first; t <= last; t += 1) {
    const hz = model.f0[t];
    if (!(hz > 0)) {
      drawing = false;
      continue;
    }
    const x = timeToX(t / rate, state.view, rect);
    if (drawing) context.lineTo(x, y(hz));
    else context.moveTo(x, y(hz));
    drawing = true;
  }
  context.stroke();
  context.lineWidth = 1;
  for (const hz of marks) write(context, String(hz), rect.x + 4, Math.min(rect.y + rect.height - 6, Math.max(rect.y + 6, y(hz))), { color: INK.text, small: true, halo: true });
}

function voicing(context, rect, model, state) {
  const rate = model.header.frame_rate_hz;
  const first = Math.max(0, Math.floor(state.view.start * rate));
  const last = Math.min(model.voicing.length - 1, Math.ceil(state.view.end * rate));
  for (let t = first; t <= last; ) {
    let end = t;
    while (end < last && model.voicing[end + 1] === model.voicing[t]) end += 1;
    const x = timeToX((t - 0.5) / rate, state.view, rect);
    const x2 = timeToX((end + 0.5) / rate, state.view, rect);
    context.fillStyle = VOICING_COLOR[model.voicing[t]];
    context.fillRect(x, rect.y, x2 - x, rect.height);
    const color = model.voicing[t] === 2 ? "#ffffff" : INK.soft;
    if (x2 - x > 54) write(context, VOICING[model.voicing[t]], (Math.max(x, rect.x) + Math.min(x2, rect.x + rect.width)) / 2, rect.y + rect.height / 2 + 0.5, { color, align: "center", small: true });
    t = end + 1;
  }
}

/** The interval or point of a tier at a time, and for a point the nearest one within `reach` seconds; null where there is none. */
export function intervalAt(tier, time, reach = 0) {
  if (!tier.points) return tier.intervals.find((item) => time >= item.start && time < item.end) ?? null;
  const near = tier.intervals.map((item) => ({ item, far: Math.abs(item.start - time) })).sort((a, b) => a.far - b.far)[0];
  return near && near.far <= reach ? near.item : null;
}

function tier(context, rect, model, state) {
  const { points, intervals } = rect.tier;
  const middle = rect.y + rect.height / 2;
  setFont(context, false, true);
  const labeled = (text, x, room, align) => {
    const shown = cutText(text, (part) => context.measureText(part).width <= room);
    if (shown) write(context, shown, x, middle, { color: INK.text, align, small: true });
  };
  intervals.forEach((item, i) => {
    const x = timeToX(item.start, state.view, rect);
    if (points) {
      // A point is a line with its label at the right, up to the next point.
      const next = intervals[i + 1] ? timeToX(intervals[i + 1].start, state.view, rect) : rect.x + rect.width;
      if (next < rect.x || x > rect.x + rect.width) return;
      context.fillStyle = INK.voice;
      context.fillRect(x - 0.75, rect.y, 1.5, rect.height);
      labeled(item.label, x + 3, Math.min(next, rect.x + rect.width) - x - 5, "left");
      return;
    }
    const x2 = timeToX(item.end, state.view, rect);
    if (x2 < rect.x || x > rect.x + rect.width) return;
    context.strokeStyle = INK.line;
    context.strokeRect(x, rect.y + 0.5, x2 - x, rect.height - 1);
    const [from, to] = [Math.max(x, rect.x), Math.min(x2, rect.x + rect.width)];
    labeled(item.label, (from + to) / 2, to - from - 4, "center");
  });
}
