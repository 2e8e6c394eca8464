// The player's pure functions, run by `node --test` (see test_player_math.py). Expected values are worked out by hand.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as axis from "../../app/components/player/axis.js";
import { colorTable, evidenceColor, SCHEMES } from "../../app/components/player/colors.js";
import { onStripe } from "../../app/components/player/draw.js";
import { fft, stretched, stretchLags, wideLevels } from "../../app/components/player/dsp.js";
import { audacityLabels, fileName, textGrid, tiersOf, wav } from "../../app/components/player/exports.js";
import { keyAction, KEYS } from "../../app/components/player/keys.js";
import { intervalAt, pitchRange, pitchTicks } from "../../app/components/player/tracks.js";
import { evidenceIn, histogram, pyramid, sums, unpack } from "../../app/components/player/unpack.js";

const near = (actual, expected, tolerance = 1e-9) => assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

test("mel: 1000 Hz is 1000 mel within 0.02, and back", () => {
  near(axis.hzToMel(1000), 999.9855, 1e-3);
  near(axis.hzToMel(0), 0);
  for (const hz of [0, 50, 440, 3999, 8000]) near(axis.melToHz(axis.hzToMel(hz)), hz, 1e-8);
});

test("every scale runs from bottom to top, rises, and has an inverse", () => {
  for (const scale of Object.keys(axis.SCALES)) {
    near(axis.hzToUnit(8000, scale, 8000), 1);
    near(axis.hzToUnit(0, scale, 8000), 0);
    let before = -1;
    for (const hz of [60, 120, 500, 2000, 7999]) {
      const unit = axis.hzToUnit(hz, scale, 8000);
      assert.ok(unit > before);
      before = unit;
      near(axis.unitToHz(unit, scale, 8000), hz, 1e-6);
    }
  }
  near(axis.hzToUnit(4000, "linear", 8000), 0.5);
  near(axis.hzToUnit(100, "log", 6400), 1 / 7); // 50 to 6400 Hz are 7 octaves, 100 Hz is the first
  near(axis.hzToUnit(9999, "mel", 8000), 1);
});

test("rows cover all bins once on the linear axis", () => {
  const { low, high } = axis.rowBins(4, "linear", 9, 8000);
  assert.deepEqual(Array.from(high), [8, 6, 4, 2]);
  assert.deepEqual(Array.from(low), [6, 4, 2, 0]);
});

test("time and pixel are inverse", () => {
  const rect = { x: 50, width: 800 };
  const view = { start: 2, end: 4 };
  near(axis.timeToX(2, view, rect), 50);
  near(axis.timeToX(3, view, rect), 450);
  near(axis.xToTime(axis.timeToX(3.21, view, rect), view, rect), 3.21);
});

test("zoom keeps the anchor in place and stays inside", () => {
  const view = axis.zoomView({ start: 0, end: 10 }, 2, 4, 10);
  near(view.start, 2); // 4 stays at 40 % of 5 s
  near(view.end, 7);
  assert.deepEqual(axis.zoomView({ start: 0, end: 10 }, 0.5, 4, 10), { start: 0, end: 10 });
  const close = axis.zoomView({ start: 1, end: 1.06 }, 100, 1.03, 10);
  near(close.end - close.start, 0.05);
  const short = axis.zoomView({ start: 0, end: 0.03 }, 4, 0, 0.03);
  near(short.end, 0.03); // a recording shorter than the least span is shown whole
});

test("pan and follow stop at both ends", () => {
  assert.deepEqual(axis.panView({ start: 2, end: 4 }, -5, 10), { start: 0, end: 2 });
  assert.deepEqual(axis.panView({ start: 2, end: 4 }, 50, 10), { start: 8, end: 10 });
  const view = { start: 2, end: 4 };
  assert.equal(axis.followView(view, 3, 10), view);
  const turned = axis.followView(view, 4.5, 10);
  near(turned.start, 4.4);
  near(turned.end, 6.4);
});

test("seek is clamped, also for what is no number", () => {
  assert.equal(axis.clampSeek(-1, 5), 0);
  assert.equal(axis.clampSeek(9, 5), 5);
  assert.equal(axis.clampSeek(NaN, 5), 0);
  assert.equal(axis.clampSeek(2.5, 5), 2.5);
});

test("regions are ordered, inside, and not too short", () => {
  assert.deepEqual(axis.region(3, 1, 5), { start: 1, end: 3 });
  assert.deepEqual(axis.region(4, 9, 5), { start: 4, end: 5 });
  assert.equal(axis.region(1, 1.01, 5), null);
});

test("the playhead stops at the end and wraps in a loop", () => {
  near(axis.playhead(1, 2, 5, null), 3);
  near(axis.playhead(1, 20, 5, null), 5);
  const loop = { start: 1, end: 2 };
  near(axis.playhead(1, 0.5, 5, loop), 1.5);
  near(axis.playhead(1.5, 0.75, 5, loop), 1.25); // 2.25 is 0.25 past the end
  near(axis.playhead(0, 3.5, 5, loop), 1.5);
});

test("ticks are round and few", () => {
  assert.deepEqual(axis.niceTicks(0, 10, 5), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(axis.niceTicks(0.31, 0.52, 5), [0.35, 0.4, 0.45, 0.5]);
  assert.deepEqual(axis.niceTicks(1, 1, 5), []);
  assert.deepEqual(axis.frequencyTicks("linear", 8000, 0.25), [0, 2000, 4000, 6000, 8000]);
  assert.deepEqual(axis.frequencyTicks("log", 8000, 0.1), [50, 125, 250, 500, 1000, 2000, 4000, 8000]);
  assert.ok(axis.frequencyTicks("mel", 4000, 0.1).every((hz) => hz <= 4000));
});

test("times and frequencies read as people say them", () => {
  assert.equal(axis.formatTime(1.256, 2), "1.26 s");
  assert.equal(axis.formatTime(59.999), "1:00.00");
  assert.equal(axis.formatTime(125.34, 1), "2:05.3");
  assert.equal(axis.formatTime(65, 0), "1:05");
  assert.equal(axis.formatHz(440.4), "440 Hz");
  assert.equal(axis.formatHz(2413), "2.41 kHz");
});

test("the threshold shows at most the share asked for", () => {
  const counts = new Uint32Array(256);
  counts[0] = 90;
  counts[100] = 5;
  counts[200] = 4;
  counts[255] = 1;
  assert.equal(axis.thresholdCode(counts, 0.01), 201); // 1 bin at 255 fits, the 4 at 200 do not
  assert.equal(axis.thresholdCode(counts, 0.05), 101);
  assert.equal(axis.thresholdCode(counts, 1), 1); // a bin without evidence is never shown
  assert.equal(axis.thresholdCode(counts, 0.5), 1);
  near(axis.evidenceOfCode(255), 1);
  near(axis.evidenceOfCode(51), 0.04);
});

test("a threshold never shows nothing when the strongest code alone is over the budget", () => {
  const counts = new Uint32Array(256);
  counts[0] = 50;
  counts[255] = 50;
  assert.equal(axis.thresholdCode(counts, 0.01), 255);
});

test("stretches join small gaps and drop clicks", () => {
  const mask = [0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0];
  const found = axis.stretches(mask, 10, 0.15); // gap of 1 frame is 0.1 s: joined; the lone frame is 0.1 s: dropped
  assert.equal(found.length, 1);
  near(found[0].start, 0.05);
  near(found[0].end, 0.55);
  assert.deepEqual(axis.stretches([0, 0], 10), []);
});

test("half of the evidence sits in the fewest frames", () => {
  assert.deepEqual(Array.from(axis.strongestFrames(Float32Array.from([1, 5, 0, 4, 0]), 0.5)), [0, 1, 0, 0, 0]); // 5 of 10
  assert.deepEqual(Array.from(axis.strongestFrames(Float32Array.from([1, 5, 0, 4, 0]), 0.6)), [0, 1, 0, 1, 0]);
  assert.deepEqual(Array.from(axis.strongestFrames(Float32Array.from([0, 0]), 0.5)), [0, 0]);
});

test("keys: every action once, with Shift ten times, none with Ctrl", () => {
  const press = (key, more = {}) => keyAction({ key, shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, ...more });
  assert.deepEqual(press(" "), { action: "toggle", amount: undefined });
  assert.deepEqual(press("ArrowRight"), { action: "step", amount: 0.05 });
  assert.deepEqual(press("ArrowLeft", { shiftKey: true }), { action: "step", amount: -0.5 });
  assert.deepEqual(press("3"), { action: "sound", amount: 2 });
  assert.equal(press("C", { shiftKey: true }).action, "scheme");
  assert.equal(press("c", { ctrlKey: true }), null);
  assert.equal(press("Tab"), null);
  assert.deepEqual(press("ArrowUp"), { action: "opacity", amount: 0.1 });
  assert.deepEqual(press("ArrowUp", { shiftKey: true }), { action: "box_high", amount: 100 });
  assert.deepEqual(press("N", { shiftKey: true }), { action: "segment", amount: -1 });
  const all = KEYS.flatMap((entry) => entry.keys.map((key) => `${entry.shift ? "Shift+" : ""}${key}`));
  assert.equal(new Set(all).size, all.length);
});

test("pyramids keep the maximum", () => {
  const codes = new Uint8Array(600 * 2);
  codes[2 * 599 + 1] = 77; // the last frame
  codes[0] = 9;
  const levels = pyramid(codes, 600, 2);
  assert.deepEqual(levels.map((l) => l.n), [600, 300, 150]);
  assert.equal(levels[2].codes[2 * 149 + 1], 77);
  assert.equal(levels[2].codes[0], 9);
});

test("a container is read back, and a wrong one is refused by name", () => {
  const header = { n_frames: 2, n_bins: 2, level: [0, 4], maps: [{ key: "m", blob: [4, 4] }], sounds: [{ key: "o", blob: [8, 4] }], voicing: [12, 2], f0: [14, 8] };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const blobs = [1, 2, 3, 4, 0, 255, 51, 0, 1, 0, 255, 255, 0, 2, 0, 0, 200, 66, 0, 0, 192, 127]; // 1, -1; 100 Hz, NaN
  const bytes = new Uint8Array(9 + 8 + text.length + blobs.length).subarray(9); // not aligned, as it may arrive
  bytes.set([83, 88, 80, 49]);
  new DataView(bytes.buffer, 9).setUint32(4, text.length, true);
  bytes.set(text, 8);
  bytes.set(blobs, 8 + text.length);
  const model = unpack(bytes);
  assert.deepEqual(Array.from(model.sounds[0].samples), [1, -1]);
  assert.equal(model.f0[0], 100);
  assert.ok(Number.isNaN(model.f0[1]));
  assert.equal(model.maps[0].histogram[255], 1);
  assert.throws(() => unpack(new Uint8Array(16)), /SXP1/);

  Object.assign(model.header, { frame_rate_hz: 1, bin_hz: 100, energy: Array.from({ length: 256 }, (_, i) => i) });
  const bands = [{ low: 0, high: 100 }, { low: 100, high: 201 }];
  const all = sums(model, model.maps[0], 1, bands, null);
  near(all.overFrames[0], 1); // codes 0, 255
  near(all.overFrames[1], 0.04, 1e-6); // codes 51, 0
  near(all.bands[0].share, 0.04 / 1.04, 1e-6);
  near(all.bands[0].energy, (1 + 3) / 10, 1e-9);
  near(sums(model, model.maps[0], 100, bands, null).overFrames[1], 0);
  near(sums(model, model.maps[0], 1, bands, { start: 1, end: 1 }).bands[0].share, 1);
});

test("histogram counts", () => {
  const counts = histogram(Uint8Array.from([0, 3, 3, 255]));
  assert.deepEqual([counts[0], counts[3], counts[255]], [1, 2, 1]);
});

test("a third of the evidence of a map that explains nothing is drawn, in slanted stripes", () => {
  for (const ratio of [1, 2]) {
    const row = (y) => Array.from({ length: 9 * ratio }, (_, x) => onStripe(x, y, ratio));
    assert.equal(row(0).filter(Boolean).length, 3 * ratio);
    assert.deepEqual(row(0).slice(0, 3 * ratio), Array(3 * ratio).fill(true));
    assert.deepEqual(row(ratio), [...row(0).slice(ratio), ...row(0).slice(0, ratio)]); // a step down is a step to the side
  }
});

test("TextGrid covers the recording without holes", () => {
  const text = textGrid([{ start: 2, end: 3, label: 'a "b"' }, { start: 0.5, end: 1, label: "first" }], 4);
  assert.match(text, /intervals: size = 5/);
  assert.match(text, /text = "a ""b"""/);
  const bounds = [...text.matchAll(/^ {12}xm(?:in|ax) = (\S+)/gm)].map((m) => Number(m[1]));
  assert.deepEqual(bounds, [0, 0.5, 0.5, 1, 1, 2, 2, 3, 3, 4]);
  assert.match(textGrid([], 4), /intervals: size = 1/);
});

test("Audacity labels are sorted, tabbed lines", () => {
  assert.equal(audacityLabels([{ start: 2, end: 3, label: "b\tc" }, { start: 0, end: 1, label: "a" }]), "0.000000\t1.000000\ta\n2.000000\t3.000000\tb c\n");
});

test("WAV bytes say what they hold", () => {
  const bytes = wav(Int16Array.from([0, 256, -2]), 16000);
  assert.equal(bytes.length, 50);
  const data = new DataView(bytes.buffer);
  assert.equal(data.getUint32(24, true), 16000);
  assert.equal(data.getUint32(40, true), 6);
  assert.equal(data.getInt16(48, true), -2);
  assert.equal(fileName("voz ñ / 1", ".wav"), "voz_n_1.wav");
});

test("color tables grow in brightness, or fall for print", () => {
  const luminance = (t, i) => 0.2126 * t[3 * i] + 0.7152 * t[3 * i + 1] + 0.0722 * t[3 * i + 2];
  for (const scheme of SCHEMES) {
    const table = colorTable(scheme);
    const sign = scheme === "gray" ? -1 : 1;
    for (let i = 8; i < 256; i += 8) assert.ok(sign * (luminance(table, i) - luminance(table, i - 8)) > 0, `${scheme} at ${i}`);
    assert.equal(evidenceColor(scheme).length, 3);
  }
});

test("a box has two corners in any order, and is not flat", () => {
  const box = axis.boxed({ time: 2, hz: 500 }, { time: 1, hz: 9000 }, 10, 8000);
  assert.deepEqual(box, { start: 1, end: 2, low: 500, high: 8000 });
  assert.equal(axis.boxed({ time: 1, hz: 500 }, { time: 2, hz: 510 }, 10, 8000), null);
  assert.equal(axis.boxed({ time: 1, hz: 500 }, { time: 1.001, hz: 900 }, 10, 8000), null);
});

test("two marks of one place are one region; a box is not the stretch that it lies in", () => {
  const a = { start: 1, end: 2 };
  assert.ok(axis.sameRegion(a, { start: 1.0004, end: 2, low: null, high: null }));
  assert.ok(!axis.sameRegion(a, { start: 1.1, end: 2 }));
  assert.ok(!axis.sameRegion(a, { start: 1, end: 2, low: 100, high: 200 }));
  assert.ok(axis.sameRegion({ ...a, low: 100, high: 200 }, { ...a, low: 100.5, high: 200 }));
});

test("labels over one place get rows of their own", () => {
  assert.deepEqual(axis.lanes([{ x: 0, width: 50 }, { x: 10, width: 50 }, { x: 55, width: 10 }, { x: 60, width: 9 }]), [0, 1, 0, 2]);
});

test("a text is cut where it does not fit", () => {
  assert.equal(axis.cutText("frase", (t) => t.length <= 5), "frase");
  assert.equal(axis.cutText("frase", (t) => t.length <= 3), "fr…");
  assert.equal(axis.cutText("frase", () => false), "");
});

test("at half speed a second of sound is half a second of the recording, in a loop as well", () => {
  near(axis.playhead(1, 1, 10, null, 0.5), 1.5);
  near(axis.playhead(1, 3, 10, { start: 1, end: 2 }, 0.5), 1.5);
});

test("the axis may end below the highest bin", () => {
  const { high } = axis.rowBins(2, "linear", 9, 4000, 1000); // bins 0 to 8 kHz, 1 kHz apart: the upper half is not shown
  assert.deepEqual(Array.from(high), [4, 2]);
});

test("the pitch axis spans six semitones at least and has two round marks", () => {
  const { low, high } = pitchRange(Float32Array.from([NaN, 200, 200, 200]));
  near(high / low, Math.SQRT2, 1e-6);
  near(Math.sqrt(low * high), 200 * Math.sqrt(0.95 * 1.05), 1e-3);
  for (const [a, b] of [[168, 238], [70, 400], [95, 135], [199, 282]]) {
    const ticks = pitchTicks(a, b);
    assert.ok(ticks.length >= 2 && ticks.every((hz) => hz >= a && hz <= b), `${a} to ${b}: ${ticks}`);
  }
});

test("a click finds the interval it is in, and the nearest point", () => {
  const tier = { intervals: [{ start: 0, end: 1, label: "a" }, { start: 1, end: 2, label: "b" }] };
  assert.equal(intervalAt(tier, 1).label, "b");
  assert.equal(intervalAt(tier, 2.5), null);
  const points = { points: true, intervals: [{ start: 0.5, label: "x" }, { start: 0.6, label: "y" }] };
  assert.equal(intervalAt(points, 0.58, 0.05).label, "y");
  assert.equal(intervalAt(points, 0.7, 0.05), null);
});

test("regions over each other go to tiers of their own, boxes keep their frequencies", () => {
  const regions = [{ start: 0, end: 2, label: "a" }, { start: 1, end: 3, label: "b", low: 500, high: 2000 }, { start: 2, end: 3, label: "c" }];
  assert.deepEqual(tiersOf(regions).map((tier) => tier.map((r) => r.label)), [["a", "c"], ["b"]]);
  const text = textGrid(regions, 3, "notes");
  assert.ok(text.includes("size = 2\n") && text.includes('name = "notes"') && text.includes('name = "notes 2"'));
  assert.equal(audacityLabels(regions), "0.000000\t2.000000\ta\n1.000000\t3.000000\tb\n\\\t500.000000\t2000.000000\n2.000000\t3.000000\tc\n");
});

test("evidence in a box is counted by time and by frequency", () => {
  const model = { header: { n_frames: 2, n_bins: 2, bin_hz: 1000, frame_rate_hz: 1 } };
  const map = { least: 100, levels: [{ codes: Uint8Array.from([255, 255, 255, 50]) }] }; // the last is under the threshold
  near(evidenceIn(model, map, { start: 0, end: 0.5 }), 2 / 3);
  near(evidenceIn(model, map, { start: 0, end: 0.5, low: 900, high: 1100 }), 1 / 3);
  near(evidenceIn(model, { ...map, least: 256 }, { start: 0, end: 1 }), 0);
});

test("the transform of one wave is one line", () => {
  const [re, im] = [Float64Array.from({ length: 16 }, (_, i) => Math.cos((2 * Math.PI * 3 * i) / 16)), new Float64Array(16)];
  fft(re, im);
  re.forEach((v, k) => near(Math.hypot(v, im[k]), k === 3 || k === 13 ? 8 : 0, 1e-9));
});

test("a wide-band picture shows single pulses of a voice of 100 Hz, and a formant where it is", () => {
  const rate = 16000;
  const pulses = Float64Array.from({ length: rate / 10 }, (_, i) => (i % 160 === 80 ? 8000 : 0));
  const { levels, nBins } = wideLevels(pulses, rate, [0.045, 0.05, 0.055]); // on a pulse, between two, on the next
  const at = (column) => levels[column * nBins + 40];
  assert.ok(at(0) - at(1) > 20 && at(2) - at(1) > 20);
  const tone = Float64Array.from({ length: rate / 10 }, (_, i) => 8000 * Math.sin((2 * Math.PI * 1500 * i) / rate));
  const wide = wideLevels(tone, rate, [0.05]);
  const top = wide.levels.indexOf(Math.max(...wide.levels));
  near(top * wide.binHz, 1500, wide.binHz);
});

test("half speed keeps the pitch, the level, and the step of all sounds", () => {
  const rate = 16000;
  const sound = Int16Array.from({ length: rate }, (_, i) => 8000 * Math.sin((2 * Math.PI * 200 * i) / rate));
  const lags = stretchLags(sound, rate);
  const slow = stretched(sound, rate, lags);
  assert.equal(slow.length, 2 * rate);
  let crossings = 0;
  let square = 0;
  for (let i = 1; i < slow.length; i += 1) {
    if (slow[i - 1] < 0 && slow[i] >= 0) crossings += 1;
    square += slow[i] ** 2;
  }
  near(crossings, 400, 6); // 200 Hz for two seconds
  near(Math.sqrt(square / slow.length), 8000 / Math.SQRT2, 300);
  const click = new Int16Array(rate);
  click[8000] = 30000;
  const later = stretched(click, rate, lags);
  near(later.indexOf(Math.max(...later)) / rate, 1, 0.02); // at 0.5 s before, within a grain
});
