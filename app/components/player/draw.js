// The pictures: spectrogram with evidence, written pixel by pixel from the codes for whatever is visible.
import { frequencyTicks, formatHz, hzToUnit, niceTicks, rowBins, timeToX } from "./axis.js";

export const INK = { text: "#1f2a30", soft: "#56646b", line: "#d5dcdd", faint: "#e9eded", voice: "#0b6670", head: "#b3123f" };
const FONT = "12px 'Source Sans', 'Source Sans Pro', system-ui, sans-serif";

/** Where everything stands, in CSS pixels, for a stage `width` wide: panels (one a map), side bands, tracks, axis. */
export function layout(width, options) {
  const left = width < 560 ? 44 : 58;
  const side = options.nMaps === 1 && !options.bare && width >= 620 ? 150 : 0;
  const inner = Math.max(60, width - left - side - 8);
  const panels = [];
  let y = 4;
  if (options.nMaps === 1) {
    panels.push({ x: left, y, width: inner, height: options.height });
    y += options.height + 4;
  } else {
    for (let i = 0; i < options.nMaps; i += 1) {
      panels.push({ x: left, y: y + 18, width: inner, height: options.height });
      y += options.height + 24;
    }
  }
  const tracks = [];
  for (const track of options.tracks) {
    tracks.push({ ...track, x: left, y, width: inner });
    y += track.height + 4;
  }
  const axis = { x: left, y, width: inner, height: 20 };
  const overview = { x: left, y: y + 21, width: inner, height: 9 };
  const bands = side ? { x: left + inner + 10, y: panels[0].y, width: side - 16, height: panels[0].height } : null;
  return { width, height: overview.y + overview.height + 5, panels, tracks, axis, overview, bands };
}

/** Whether a device pixel lies on a stripe: evidence of a map that explains nothing is drawn in stripes. */
export function onStripe(x, y, ratio) {
  return ((x + y) / ratio) % 9 < 3;
}

/** Write the visible part of one map over the spectrogram into an ImageData of the panel's device pixels. */
export function paint(image, model, map, settings) {
  const { width, height, data } = image;
  const { n_bins: nBins, n_frames: nFrames, frame_rate_hz: rate, bin_hz: binHz } = model.header;
  const { view, axis, table, color, opacity, least, hatched, ratio, topHz, wide } = settings;
  const framesPerPixel = ((view.end - view.start) * rate) / width;
  const wanted = Math.max(0, Math.ceil(Math.log2(Math.max(1, framesPerPixel)) - 1e-9));
  const pick = (levels) => levels[Math.min(levels.length - 1, wanted)];
  const level = pick(model.level);
  const over = pick(map.levels);
  const under = map.against && settings.against ? pick(map.against) : null;
  const step = 2 ** Math.min(model.level.length - 1, wanted);
  const { low, high } = rowBins(height, axis, nBins, topHz, binHz);
  const wideRows = wide ? rowBins(height, axis, wide.nBins, topHz, wide.binHz) : null;
  const keep = new Float32Array(256);
  for (let code = Math.max(1, least); code < 256; code += 1) keep[code] = opacity * Math.min(1, 0.18 + 0.95 * (code / 255));
  const [redAgainst, greenAgainst, blueAgainst] = settings.against ?? color;
  for (let x = 0; x < width; x += 1) {
    const frame = (view.start + ((x + 0.5) / width) * (view.end - view.start)) * rate;
    const place = Math.min(nFrames - 1, Math.max(0, frame)) / step;
    const a = Math.min(level.n - 1, Math.floor(place));
    const near = step === 1 ? Math.min(level.n - 1, Math.round(place)) : a;
    const b = step === 1 ? Math.min(level.n - 1, a + 1) : a;
    const mix = place - a;
    const from = a * nBins;
    const to = b * nBins;
    const at = near * nBins;
    for (let y = 0; y < height; y += 1) {
      let code = 0;
      let seen = 0;
      let other = 0;
      if (high[y] - low[y] <= 1.5) {
        const bin = (low[y] + high[y]) / 2;
        const f = Math.min(nBins - 2, Math.floor(bin));
        const up = bin - f;
        const one = level.codes[from + f] * (1 - up) + level.codes[from + f + 1] * up;
        code = mix > 0 && b !== a ? one * (1 - mix) + (level.codes[to + f] * (1 - up) + level.codes[to + f + 1] * up) * mix : one;
        code = Math.round(code);
        seen = over.codes[at + Math.round(bin)];
        if (under) other = under.codes[at + Math.round(bin)];
      } else {
        const last = Math.floor(high[y]);
        for (let f = Math.ceil(low[y]); f <= last; f += 1) {
          if (level.codes[at + f] > code) code = level.codes[at + f];
          if (over.codes[at + f] > seen) seen = over.codes[at + f];
          if (under && under.codes[at + f] > other) other = under.codes[at + f];
        }
      }
      if (wide) {
        const bin = (wideRows.low[y] + wideRows.high[y]) / 2;
        const f = Math.min(wide.nBins - 2, Math.floor(bin));
        const column = x * wide.nBins;
        code = Math.round(wide.codes[column + f] * (1 - bin + f) + wide.codes[column + f + 1] * (bin - f));
      }
      const speaksAgainst = other > seen;
      const [red, green, blue] = speaksAgainst ? [redAgainst, greenAgainst, blueAgainst] : color;
      const alpha = hatched && !onStripe(x, y, ratio) ? 0 : keep[speaksAgainst ? other : seen];
      const rest = 1 - alpha;
      const i = 4 * (y * width + x);
      data[i] = table[3 * code] * rest + red * alpha;
      data[i + 1] = table[3 * code + 1] * rest + green * alpha;
      data[i + 2] = table[3 * code + 2] * rest + blue * alpha;
      data[i + 3] = 255;
    }
  }
}

/** Draw text with the player's font; `halo` puts white behind it, so that it reads over lines and pictures. */
export function write(context, text, x, y, { color = INK.soft, align = "left", base = "middle", bold = false, small = false, halo = false } = {}) {
  setFont(context, bold, small);
  if (halo) {
    context.strokeStyle = "rgba(255,255,255,.9)";
    context.lineWidth = 3;
    Object.assign(context, { textAlign: align, textBaseline: base, lineJoin: "round" });
    context.strokeText(text, x, y);
    context.lineWidth = 1;
  }
  context.fillStyle = color;
  context.textAlign = align;
  context.textBaseline = base;
  context.fillText(text, x, y);
}

/** The player's font, for what is measured before it is drawn. */
export function setFont(context, bold = false, small = false) {
  context.font = `${bold ? "600 " : ""}${small ? FONT.replace("12px", "11px") : FONT}`;
}

/** First and second formant as dots over the picture: dark with a light rim, readable on every color map. */
export function drawFormants(context, rect, model, { view, axis, topHz }) {
  const rate = model.header.frame_rate_hz;
  const first = Math.max(0, Math.ceil(view.start * rate));
  const last = Math.min(model.header.n_frames - 1, Math.floor(view.end * rate));
  const step = Math.max(1, Math.round((last - first) / rect.width / 0.25));
  for (let t = first; t <= last; t += step) {
    for (let k = 0; k < 2; k += 1) {
      const hz = model.formants[2 * t + k];
      if (!(hz > 0) || hz > topHz) continue;
      const x = timeToX(t / rate, view, rect);
      const y = rect.y + (1 - hzToUnit(hz, axis, topHz)) * rect.height;
      context.beginPath();
      context.arc(x, y, 2.4, 0, 2 * Math.PI);
      context.fillStyle = k ? "#ffd84a" : "#7be0ff";
      context.fill();
      context.strokeStyle = "#10181c";
      context.lineWidth = 0.9;
      context.stroke();
    }
  }
  context.lineWidth = 1;
}

/** Frequency labels and ticks at the left of a panel. */
export function drawFrequencyAxis(context, rect, axis, maxHz) {
  context.strokeStyle = INK.line;
  context.strokeRect(rect.x - 0.5, rect.y - 0.5, rect.width + 1, rect.height + 1);
  for (const hz of frequencyTicks(axis, maxHz, 20 / rect.height)) {
    const y = rect.y + (1 - hzToUnit(hz, axis, maxHz)) * rect.height;
    context.beginPath();
    context.moveTo(rect.x - 4, Math.round(y) + 0.5);
    context.lineTo(rect.x, Math.round(y) + 0.5);
    context.stroke();
    const inside = Math.min(rect.y + rect.height - 5, Math.max(rect.y + 6, y));
    write(context, rect.x < 50 ? formatHz(hz).replace(" Hz", "").replace(" kHz", "k") : formatHz(hz), rect.x - 7, inside, { align: "right", small: true });
  }
}

/** Time labels under the tracks. */
export function drawTimeAxis(context, rect, view) {
  const ticks = niceTicks(view.start, view.end, Math.max(2, Math.floor(rect.width / 80)));
  const digits = ticks.length > 1 ? Math.max(0, Math.ceil(-Math.log10(ticks[1] - ticks[0]) - 1e-9)) : 2;
  context.strokeStyle = INK.line;
  for (const time of ticks) {
    const x = Math.round(timeToX(time, view, rect)) + 0.5;
    context.beginPath();
    context.moveTo(x, rect.y);
    context.lineTo(x, rect.y + 4);
    context.stroke();
    const label = time >= 60 ? `${Math.floor(time / 60)}:${(time % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}` : time.toFixed(digits);
    write(context, label, Math.min(rect.x + rect.width - 8, Math.max(rect.x + 8, x)), rect.y + 12, { align: "center", small: true });
  }
  write(context, "s", rect.x - 7, rect.y + 12, { align: "right", small: true });
}

/** Bars beside the picture, a row a band, high above low: share of evidence, with that of a map of loudness as a mark. */
export function drawBands(context, rect, bands, color) {
  const widest = Math.max(0.25, ...bands.map((b) => Math.max(b.share, b.energy)));
  const left = rect.x + 66; // words stand left of the bars, free of bars and marks
  const bar = rect.x + rect.width - 8 - left;
  const foot = 32;
  const row = (rect.height - foot) / bands.length;
  context.strokeStyle = INK.line;
  context.strokeRect(rect.x - 0.5, rect.y - 0.5, rect.width + 1, rect.height + 1);
  [...bands].reverse().forEach((band, i) => {
    const top = rect.y + i * row;
    const middle = top + row / 2;
    write(context, `${band.label} Hz`, rect.x + 4, middle - 7, { small: true });
    write(context, `${Math.round(100 * band.share)} %`, rect.x + 4, middle + 7, { color: INK.text, bold: true, small: true });
    context.fillStyle = `rgba(${color.join(",")},0.45)`;
    context.fillRect(left, middle - 8, Math.max(0.5, (bar * band.share) / widest), 16);
    context.fillStyle = INK.text;
    context.fillRect(left + (bar * band.energy) / widest - 1, middle - 10, 2, 20);
    if (i) {
      context.fillStyle = INK.faint;
      context.fillRect(rect.x, Math.round(top), rect.width, 1);
    }
  });
  const base = rect.y + rect.height - foot;
  context.fillStyle = INK.line;
  context.fillRect(left, base, bar, 1);
  for (const share of niceTicks(0, 100 * widest, 3)) {
    const x = left + (bar * share) / (100 * widest);
    context.fillRect(Math.round(x), base, 1, 4);
    write(context, share ? `${share} %` : "0", x, base + 11, { align: share ? "center" : "left", small: true });
  }
  write(context, "❙ loudness alone", rect.x + 4, base + 24, { small: true });
}
