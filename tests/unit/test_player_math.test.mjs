// The player's pure functions, run by `node --test` (see test_player_math.py). Expected values are worked out by hand.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as axis from "../../app/components/player/axis.js";
import { colorTable, evidenceColor, SCHEMES } from "../../app/components/player/colors.js";
import { onStripe } from "../../app/components/player/draw.js";
import { audacityLabels, fileName, textGrid, wav } from "../../app/components/player/exports.js";
import { keyAction, KEYS } from "../../app/components/player/keys.js";
import { histogram, pyramid, sums, unpack } from "../../app/components/player/unpack.js";

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
  const all = KEYS.flatMap((entry) => entry.keys);
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
