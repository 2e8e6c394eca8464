// The player: sound, picture and tracks on one time axis. Called by Streamlit whenever its data change; idempotent.
import * as axis from "./axis.js";
import { Sound } from "./audio.js";
import { againstColor, colorTable, evidenceColor, SCHEMES } from "./colors.js";
import { wideLevels, wideTop } from "./dsp.js";
import { drawBands, drawFormants, drawFrequencyAxis, drawTimeAxis, INK, layout, paint, setFont, write } from "./draw.js";
import { audacityLabels, download, fileName, textGrid, wav } from "./exports.js";
import { keyAction, KEYS } from "./keys.js";
import { attachPointer } from "./pointer.js";
import { drawTrack, trackList } from "./tracks.js";
import { evidenceIn, sums, unpack } from "./unpack.js";

export const SHARES = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1];
const players = new WeakMap();
// How a reader likes to look at pictures outlives a page: it is kept in the window, never on a disk.
const taste = (window.__speechxaiTaste ??= { scheme: "gray", axis: "linear", opacity: 0.85, strongest: 5, against: true, wide: false, formants: false, whole: false, box: false, volume: 1, slow: false });
const SOUND_SHARE = 0.2; // kept and removed are made by the server of the strongest fifth

class Player {
  constructor(root) {
    this.root = root;
    this.box = root.querySelector(".player");
    this.part = (selector) => this.box.querySelector(selector);
    this.base = this.part(".base");
    this.glass = this.part(".glass");
    this.seat = this.part(".seat");
    this.sound = new Sound(() => this.refresh());
    this.region = null;
    this.notes = [];
    this.pending = [];
    this.removed = [];
    this.tabs = [];
    this.hover = null;
    this.view = { start: 0, end: 1 };
    this.listen();
    this.observer = new ResizeObserver(() => this.model && this.draw());
    this.observer.observe(this.part(".stage"));
    this.judged = () => this.model && this.settle();
    window.addEventListener("speechxai-worth", this.judged);
    this.noted = () => this.model && this.takeNotes();
    window.addEventListener("speechxai-notes", this.noted);
  }

  /** Take a payload: a new recording starts afresh, a new map of the same recording keeps place, view and sound. */
  take(bytes) {
    const model = unpack(bytes);
    if (model.header.version === this.model?.header.version) return;
    const same = model.header.recording === this.model?.header.recording;
    this.model = model;
    const { header } = model;
    if (!same) {
      this.view = { start: 0, end: header.duration_s };
      this.region = null;
      Object.assign(this, { notes: [], pending: [], removed: [] });
      this.sound.loop = null;
      this.sound.chosen = 0;
    }
    this.wideMax = null;
    Object.assign(this.sound, { slow: taste.slow, volume: taste.volume });
    this.sound.load(model.sounds, header.sample_rate_hz, header.duration_s, same);
    this.takeNotes();
    this.part("#summary").textContent = header.summary;
    this.box.setAttribute("aria-label", `Recording player: ${header.title}`);
    this.seat.setAttribute("aria-valuemax", header.duration_s.toFixed(2));
    const sounds = this.part(".sounds");
    sounds.querySelectorAll("label").forEach((label) => label.remove());
    model.sounds.forEach((sound, i) => {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "sound", value: String(i) });
      const text = document.createElement("span");
      const note = document.createElement("small");
      text.textContent = sound.label;
      note.textContent = sound.note ?? "";
      if (sound.title) label.title = sound.title;
      text.append(" ", note);
      input.addEventListener("change", () => this.choose(i));
      label.append(input, text);
      sounds.append(label);
    });
    sounds.hidden = model.sounds.length < 2;
    this.box.querySelectorAll("[data-export=kept], [data-export=removed]").forEach((b) => (b.hidden = model.sounds.length < 3));
    this.box.classList.toggle("many", header.maps.length > 1);
    this.settle();
  }

  /** Take the notes that the server keeps; what it does not know yet stays. */
  takeNotes() {
    const said = window.__speechxaiNotes;
    if (said?.recording !== this.model.header.recording) return;
    this.notes = said.notes;
    const known = (item) => this.notes.find((note) => note.id === item.id);
    this.pending = this.pending.filter((item) => !(known(item) && axis.sameRegion(known(item), item)));
    this.removed = this.removed.filter((id) => this.notes.some((note) => note.id === id));
    this.status();
    this.refresh();
  }

  /** Every note: of the server, with what was changed here since. */
  get kept() {
    const changed = this.notes.map((note) => ({ ...note, ...this.pending.find((item) => item.id === note.id) }));
    const made = this.pending.filter((item) => !this.notes.some((note) => note.id === item.id));
    return [...changed, ...made].filter((note) => !this.removed.includes(note.id));
  }

  tellNotes(chosen = null) {
    this.tell?.("kept", { recording: this.model.header.recording, items: this.pending, removed: this.removed, chosen });
  }

  selectNote(id) {
    const note = this.kept.find((item) => item.id === id);
    if (!note) return;
    this.select({ ...note });
    this.say(`Note ${note.label}`);
    this.tellNotes(id);
  }

  /** Highest frequency of the picture: where the recording's band ends, unless all is asked for. */
  topHz() {
    const { header } = this.model;
    return taste.whole ? header.max_hz : (header.top_hz ?? header.max_hz);
  }

  /** Codes of a wide-band picture of what is visible, a column a pixel; null where the model's own picture is shown. */
  wideCodes(columns) {
    if (!taste.wide) return null;
    const { header, sounds } = this.model;
    const { samples } = sounds[0];
    this.wideMax ??= wideTop(samples, header.sample_rate_hz);
    const times = Array.from({ length: columns }, (_, x) => this.view.start + ((x + 0.5) / columns) * (this.view.end - this.view.start));
    const { levels, nBins, binHz } = wideLevels(samples, header.sample_rate_hz, times);
    // Praat shows 50 dB under the loudest.
    return { codes: Uint8Array.from(levels, (db) => 255 * Math.min(1, Math.max(0, 1 + (db - this.wideMax) / 50))), nBins, binHz };
  }

  /** Whether the verdict on the shown map, which comes later than the map, is that it explains nothing. */
  hatched() {
    const { header } = this.model;
    const said = window.__speechxaiWorth;
    return header.maps.length === 1 && said?.verdict === "nothing" && said.recording === header.recording && said.map === header.maps[0].key;
  }

  /** Bring codes and sums in line with the settings, then draw. */
  settle() {
    const { header } = this.model;
    const share = SHARES[taste.strongest];
    for (const map of this.model.maps) map.least = share >= 1 ? 1 : axis.thresholdCode(map.histogram, share);
    this.measure();
    this.part(".scheme").value = taste.scheme;
    this.part(".axis").value = taste.axis;
    const opacity = this.part(".opacity");
    opacity.value = String(Math.round(100 * taste.opacity));
    opacity.setAttribute("aria-valuetext", `${opacity.value} percent`);
    const strongest = this.part(".strongest");
    const words = share >= 1 ? "all" : `${+(100 * share).toFixed(1)} %`;
    strongest.value = String(taste.strongest);
    strongest.setAttribute("aria-valuetext", share >= 1 ? "all places" : `strongest ${+(100 * share).toFixed(1)} percent of the places`);
    const others = this.model.sounds.length > 2 && share !== SOUND_SHARE;
    this.part(".share").textContent = others ? `${words} (sound: ${100 * SOUND_SHARE} %)` : words;
    this.part(".with-whole").hidden = !(header.top_hz < header.max_hz);
    this.part(".with-whole input").checked = taste.whole;
    this.part(".with-formants").hidden = !this.model.formants;
    this.part(".with-formants input").checked = taste.formants;
    this.part(".spectrogram").value = taste.wide ? "wide" : "model";
    this.part(".volume").value = String(Math.round(100 * taste.volume));
    this.part(".slow").setAttribute("aria-pressed", String(taste.slow));
    this.part(".box").setAttribute("aria-pressed", String(taste.box));
    const color = evidenceColor(taste.scheme).join(",");
    this.box.toggleAttribute("data-hatched", this.hatched());
    const ramp = (c) => `linear-gradient(90deg, rgba(${c},.15), rgb(${c}))`;
    this.part(".legend i").style.background = ramp(color);
    this.part(".legend i.other").style.background = ramp(againstColor(taste.scheme).join(","));
    const { evidence } = header;
    const two = this.model.maps.some((map) => map.against);
    this.part(".legend .for").textContent = evidence ? `evidence for ${evidence}` : "evidence";
    this.part(".legend .against").hidden = !two || !taste.against;
    this.part(".with-against").hidden = !two;
    this.part(".with-against input").checked = taste.against;
    this.status();
    this.draw();
  }

  measure() {
    const bands = this.model.header.bands;
    for (const map of this.model.maps) map.sums = sums(this.model, map, map.least, bands, this.region);
  }

  /** Draw picture, tracks and axes; what moves is drawn on the glass above. */
  draw() {
    const { header } = this.model;
    const width = Math.floor(this.part(".stage").clientWidth);
    if (width < 80) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.lay(width, ratio);
    const context = this.base.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, this.base.width, this.base.height);
    this.paintAll(context, ratio, 0);
    this.refresh();
    this.box.dataset.drawn = header.version;
    this.box.dataset.paints = String(Number(this.box.dataset.paints ?? 0) + 1);
  }

  /** Give everything its place, and the canvases their size. */
  lay(width, ratio) {
    const { model } = this;
    const { header } = model;
    const tracks = trackList(model, header.maps.length > 1);
    const height = header.height ?? (header.maps.length > 1 ? 104 : width < 560 ? 220 : 270);
    this.plan = layout(width, { nMaps: header.maps.length, height, tracks, bare: header.bare });
    for (const canvas of [this.base, this.glass]) {
      if (canvas.width !== width * ratio || canvas.height !== this.plan.height * ratio) {
        canvas.width = width * ratio;
        canvas.height = this.plan.height * ratio;
        canvas.style.height = `${this.plan.height}px`;
      }
    }
  }

  /** Draw what does not move, `down` CSS pixels from the top, at `ratio` device pixels each. */
  paintAll(context, ratio, down) {
    const { model } = this;
    const topHz = this.topHz();
    const color = evidenceColor(taste.scheme);
    const wide = this.wideCodes(Math.round(this.plan.panels[0].width * ratio));
    this.plan.panels.forEach((rect, i) => {
      const image = context.createImageData(Math.round(rect.width * ratio), Math.round(rect.height * ratio));
      const map = model.maps[i];
      paint(image, model, map, { view: this.view, axis: taste.axis, table: colorTable(taste.scheme), color, opacity: taste.opacity, least: map.least, hatched: this.hatched(), ratio, topHz, wide, against: taste.against ? againstColor(taste.scheme) : null });
      context.putImageData(image, Math.round(rect.x * ratio), Math.round((rect.y + down) * ratio));
    });
    context.setTransform(ratio, 0, 0, ratio, 0, down * ratio);
    this.plan.panels.forEach((rect, i) => {
      if (taste.formants && model.formants) drawFormants(context, rect, model, { view: this.view, axis: taste.axis, topHz });
      drawFrequencyAxis(context, rect, taste.axis, topHz);
      if (this.plan.panels.length > 1) {
        write(context, model.maps[i].label, rect.x, rect.y - 9, { color: INK.text, bold: true });
        write(context, model.maps[i].note ?? "", rect.x + rect.width, rect.y - 9, { align: "right", small: true });
      }
    });
    const state = { view: this.view, sound: this.sound.chosen, sums: model.maps[0].sums, trackColor: taste.scheme === "gray" ? color : [192, 62, 10] };
    for (const rect of this.plan.tracks) drawTrack(context, rect, model, state);
    drawTimeAxis(context, this.plan.axis, this.view);
    if (this.plan.bands) drawBands(context, this.plan.bands, model.maps[0].sums.bands, state.trackColor);
  }

  /** Draw what moves: playhead, hover lines, region, overview. */
  refresh() {
    if (!this.plan) return;
    const { duration_s: duration } = this.model.header;
    const at = this.sound.position();
    if (this.sound.playing && !this.dragging) {
      const view = axis.followView(this.view, at, duration);
      if (view !== this.view) return this.look(view);
    }
    const context = this.glass.getContext("2d");
    const ratio = this.glass.width / this.plan.width;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.plan.width, this.plan.height);
    const { panels, tracks, axis: ruler } = this.plan;
    const top = panels[0].y;
    const bottom = ruler.y;
    const line = (time, color, width) => {
      if (time < this.view.start || time > this.view.end) return;
      context.fillStyle = color;
      context.fillRect(axis.timeToX(time, this.view, ruler) - width / 2, top, width, bottom - top);
    };
    context.save();
    context.beginPath();
    context.rect(ruler.x, top, ruler.width, bottom - top);
    context.clip();
    this.drawMarks(context);
    context.restore();
    if (this.hover) {
      line(this.hover.time, "rgba(31,42,48,.45)", 1);
      context.fillStyle = "rgba(31,42,48,.45)";
      for (const rect of panels) context.fillRect(rect.x, rect.y + (1 - axis.hzToUnit(this.hover.hz, taste.axis, this.topHz())) * rect.height, rect.width, 1);
    }
    line(at, INK.head, 2);
    this.drawOverview(context, duration, at);
    const playing = this.sound.playing;
    this.box.toggleAttribute("data-playing", playing);
    Object.assign(this.box.dataset, { position: at.toFixed(3), sound: this.model.sounds[this.sound.chosen]?.key ?? "", view: `${this.view.start.toFixed(3)} ${this.view.end.toFixed(3)}`, notes: String(this.kept.length), region: this.region ? [this.region.start, this.region.end, this.region.low ?? "", this.region.high ?? ""].map((v) => (v === "" ? v : v.toFixed(3))).join(" ") : "" });
    this.part(".play").setAttribute("aria-label", playing ? "Pause" : "Play");
    this.part(".clock").textContent = `${axis.formatTime(at)} / ${axis.formatTime(duration, 1)}`;
    this.part(".loop").setAttribute("aria-pressed", String(Boolean(this.sound.loop)));
    this.box.querySelectorAll(".sounds input").forEach((input, i) => (input.checked = i === this.sound.chosen));
    if (!playing) this.describe(at);
    if (playing && !this.frame) this.frame = requestAnimationFrame(() => ((this.frame = 0), this.refresh()));
  }

  /** Notes and the marked region: outlines alone over the picture, whose colors mean evidence; fill under it. */
  drawMarks(context) {
    const { panels, axis: ruler } = this.plan;
    const { start, end } = this.view;
    const seen = (item) => item.end >= start && item.start <= end;
    const notes = this.kept.filter((note) => note.start !== null && seen(note)).sort((a, b) => a.start - b.start);
    setFont(context, true, true);
    const labels = notes.map((note) => {
      const x = Math.max(ruler.x, axis.timeToX(note.start, this.view, ruler));
      const text = axis.cutText(note.label || "note", (part) => context.measureText(part).width <= 150);
      return { x, width: context.measureText(text).width + 8, text, id: note.id };
    });
    const rows = axis.lanes(labels);
    notes.forEach((note) => note.id !== this.region?.id && this.outline(context, note, true));
    if (this.region) {
      this.outline(context, this.region, false);
      const [x, x2] = [this.region.start, this.region.end].map((time) => axis.timeToX(time, this.view, ruler));
      const under = panels[panels.length - 1].y + panels[panels.length - 1].height + 2;
      context.fillStyle = this.sound.loop ? "rgba(11,102,112,.24)" : "rgba(11,102,112,.14)";
      context.fillRect(x, under, x2 - x, ruler.y - under);
    }
    this.placeTools();
    this.tabs = labels.map((label, i) => ({ ...label, y: panels[0].y + 2 + 17 * Math.min(rows[i], 5), height: 15 }));
    for (const tab of this.tabs) {
      context.fillStyle = tab.id === this.region?.id ? INK.voice : "#ffffff";
      context.strokeStyle = INK.voice;
      context.fillRect(tab.x, tab.y, tab.width, tab.height);
      context.strokeRect(tab.x + 0.5, tab.y + 0.5, tab.width - 1, tab.height - 1);
      write(context, tab.text, tab.x + 4, tab.y + 8, { color: tab.id === this.region?.id ? "#ffffff" : INK.voice, bold: true, small: true });
    }
  }

  /** What can be done with the marked region stands at its upper right corner. */
  placeTools() {
    const tools = this.part(".tools");
    const { region } = this;
    tools.hidden = this.dragging || !region || region.end < this.view.start || region.start > this.view.end;
    if (tools.hidden) return;
    const { panels, axis: ruler } = this.plan;
    const x = Math.min(ruler.x + ruler.width, axis.timeToX(region.end, this.view, ruler)) - tools.offsetWidth - 3;
    Object.assign(tools.style, { left: `${Math.max(ruler.x + 3, x)}px`, top: `${panels[0].y + 22}px` });
  }

  outline(context, item, dashed) {
    const { panels, axis: ruler } = this.plan;
    const [x, x2] = [item.start, item.end].map((time) => axis.timeToX(time, this.view, ruler));
    const topHz = this.topHz();
    for (const rect of panels) {
      const y = (hz) => rect.y + (1 - axis.hzToUnit(hz, taste.axis, topHz)) * rect.height;
      const [top, bottom] = item.low == null ? [rect.y, rect.y + rect.height] : [y(item.high), y(item.low)];
      for (const [color, width] of [["rgba(255,255,255,.9)", 3.5], [INK.voice, 1.5]]) {
        context.strokeStyle = color;
        context.lineWidth = width;
        context.setLineDash(dashed ? [5, 3] : []);
        context.strokeRect(x, top, x2 - x, bottom - top);
      }
      context.setLineDash([]);
      context.lineWidth = 1;
    }
  }

  drawOverview(context, duration, at) {
    const { overview } = this.plan;
    const whole = { start: 0, end: duration };
    context.fillStyle = INK.faint;
    context.fillRect(overview.x, overview.y, overview.width, overview.height);
    const x = axis.timeToX(this.view.start, whole, overview);
    context.fillStyle = "#9fb4b6";
    context.fillRect(x, overview.y, Math.max(6, axis.timeToX(this.view.end, whole, overview) - x), overview.height);
    context.fillStyle = INK.head;
    context.fillRect(axis.timeToX(at, whole, overview) - 1, overview.y, 2, overview.height);
  }

  /** What stands at a time and a frequency, for the hover line and for screen readers. */
  reading(time, hz, map = this.model.maps[0]) {
    const { header } = this.model;
    const t = Math.min(header.n_frames - 1, Math.max(0, Math.round(time * header.frame_rate_hz)));
    const f = Math.min(header.n_bins - 1, Math.max(0, Math.round(hz / header.bin_hz)));
    const code = map.levels[0].codes[t * header.n_bins + f];
    const db = header.min_db + (this.model.level[0].codes[t * header.n_bins + f] / 255) * (header.max_db - header.min_db);
    return { db, evidence: axis.evidenceOfCode(code), f0: this.model.f0[t], voicing: ["pause", "unvoiced", "voiced"][this.model.voicing[t]], t };
  }

  describe(at) {
    const found = this.reading(at, 0);
    const pitch = found.f0 > 0 ? `, F0 ${Math.round(found.f0)} Hz` : "";
    this.seat.setAttribute("aria-valuenow", at.toFixed(2));
    this.seat.setAttribute("aria-valuetext", `${axis.formatTime(at)}, ${found.voicing}${pitch}`);
  }

  say(text) {
    this.part(".live").textContent = text;
  }

  status() {
    const { region, model } = this;
    const n = this.kept.length;
    let text = n ? `${n} note${n > 1 ? "s" : ""} kept. ` : "";
    if (region) {
      const length = Math.round((100 * (region.end - region.start)) / model.header.duration_s);
      const share = Math.round(100 * evidenceIn(model, model.maps[0], region));
      const times = `${axis.formatTime(region.start)} to ${axis.formatTime(region.end)}`;
      if (region.low == null) text += `Region ${times}: ${share} % of the shown evidence in ${length} % of the time.`;
      else {
        const area = Math.round((100 * (region.end - region.start) * (region.high - region.low)) / (model.header.duration_s * model.header.max_hz));
        text += `Box ${times}, ${Math.round(region.low)} to ${Math.round(region.high)} Hz: ${share} % of the shown evidence in ${area} % of the picture.`;
      }
    } else if (!text) text = "Click to listen from there, drag to mark a region. Bars at the right: share of the evidence in each band; dark mark: the share that a map of loudness alone would have.";
    if (!region && model.maps.length > 1) text = "Click to listen from there, drag to mark a region. The cursor is linked across all maps.";
    this.part(".status").textContent = text;
    this.part(".measure").hidden = model.maps.length > 1;
  }

  look(view) {
    this.view = view;
    this.draw();
  }

  select(region) {
    this.region = region;
    if (this.sound.loop) this.sound.setLoop(region);
    this.measure();
    this.status();
    this.draw();
  }

  choose(index) {
    if (index >= this.model.sounds.length) return;
    this.sound.choose(index);
    const sound = this.model.sounds[index];
    this.say(`Sound: ${sound.label}. ${sound.title ?? ""}`);
    this.draw();
  }

  set(change) {
    Object.assign(taste, change);
    this.settle();
  }

  /** What N walks through: notes, and segments of the tiers that are stretches. */
  stops() {
    const segments = (this.model.header.tiers ?? []).filter((tier) => !tier.points).flatMap((tier) => tier.intervals);
    return [...this.kept.filter((note) => note.start !== null), ...segments].sort((a, b) => a.start - b.start || a.end - b.end);
  }

  toggleList(button, list, open = list.hidden) {
    list.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
  }

  /** Do what a key or a button asks for. */
  act(action, amount) {
    const { sound, model } = this;
    const duration = model.header.duration_s;
    const at = sound.position();
    const go = (time) => {
      sound.seek(time);
      const view = axis.followView(this.view, sound.position(), duration);
      if (view !== this.view) this.look(view);
    };
    const anchor = at >= this.view.start && at <= this.view.end ? at : (this.view.start + this.view.end) / 2;
    const next = (list, value) => list[(list.indexOf(value) + 1) % list.length];
    const actions = {
      toggle: () => (sound.playing ? sound.pause() : sound.play()),
      step: () => go(at + amount),
      start: () => go(0),
      end: () => go(duration),
      sound: () => this.choose(amount),
      mark_start: () => this.reach(axis.region(at, this.region && this.region.end > at ? this.region.end : duration, duration)),
      mark_end: () => this.reach(axis.region(this.region && this.region.start < at ? this.region.start : 0, at, duration)),
      box: () => {
        if (!this.region) return this.set({ box: !taste.box });
        const { low, high, ...time } = this.region;
        this.select(low == null ? { ...time, low: 0, high: Math.min(1000, this.topHz() / 2) } : time);
      },
      box_high: () => this.region?.low != null && this.select({ ...this.region, high: Math.min(model.header.max_hz, Math.max(this.region.low + 20, this.region.high + amount)) }),
      box_low: () => this.region?.low != null && this.select({ ...this.region, low: Math.max(0, Math.min(this.region.high - 20, this.region.low + amount)) }),
      slow: () => {
        sound.setSlow(!sound.slow);
        this.set({ slow: sound.slow });
        this.say(sound.slow ? "Half speed" : "Full speed");
      },
      wide: () => this.set({ wide: !taste.wide }),
      formants: () => this.set({ formants: !taste.formants }),
      segment: () => {
        const stops = this.stops();
        if (!stops.length) return this.say("No segments and no notes.");
        const now = this.region ? stops.findIndex((item) => axis.sameRegion(item, this.region)) : -1;
        const to = stops[(now + amount + stops.length + (now < 0 && amount < 0 ? 1 : 0)) % stops.length];
        this.select({ ...to, end: Math.min(to.end, duration) });
        go(to.start);
        this.say(`${to.label || "segment"}, ${axis.formatTime(to.start)} to ${axis.formatTime(to.end)}`);
      },
      forget: () => {
        const id = this.region?.id;
        if (!this.kept.some((note) => note.id === id)) return this.say("Select a note first.");
        this.pending = this.pending.filter((item) => item.id !== id);
        if (this.notes.some((note) => note.id === id)) this.removed.push(id);
        this.select(null);
        this.tellNotes();
        this.say("Note deleted.");
      },
      loop: () => {
        if (!sound.loop && !this.region) this.select({ start: this.view.start, end: this.view.end });
        sound.setLoop(sound.loop ? null : this.region);
        this.say(sound.loop ? "Loop on" : "Loop off");
      },
      keep: () => {
        if (!this.region) return this.say("Mark a region first.");
        const { region } = this;
        const same = this.kept.find((note) => note.id !== region.id && note.start !== null && axis.sameRegion(note, region));
        const itself = this.kept.find((note) => note.id === region.id);
        if (same || (itself && axis.sameRegion(itself, region))) return this.say("This region is a note already.");
        const id = itself?.id ?? crypto.getRandomValues(new Uint32Array(2)).join("");
        const taken = new Set(this.kept.map((note) => note.label));
        const free = (k) => (taken.has(`region ${k}`) ? free(k + 1) : `region ${k}`);
        const label = itself?.label || region.label || free(1);
        this.pending = [...this.pending.filter((item) => item.id !== id), { id, start: region.start, end: region.end, low: region.low ?? null, high: region.high ?? null, label }];
        this.region = { ...region, id, label };
        this.tellNotes(id);
        this.say(`Kept: ${label}.`);
        this.status();
      },
      clear: () => {
        sound.setLoop(null);
        this.select(null);
      },
      measure: () => {
        if (!this.region) return this.say("Mark a region first.");
        this.tell?.("region", { recording: model.header.recording, ...this.region });
        this.say("Region measured: see the voice measures below.");
      },
      zoom: () => this.look(axis.zoomView(this.view, amount, anchor, duration)),
      zoom_region: () => this.region && this.look(axis.clampView(this.region, duration)),
      fit: () => this.look({ start: 0, end: duration }),
      page: () => this.look(axis.panView(this.view, amount * (this.view.end - this.view.start), duration)),
      opacity: () => this.set({ opacity: Math.min(1, Math.max(0, +(taste.opacity + amount).toFixed(2))) }),
      strongest: () => this.set({ strongest: Math.min(SHARES.length - 1, Math.max(0, taste.strongest + amount)) }),
      scheme: () => this.set({ scheme: next(SCHEMES, taste.scheme) }),
      axis: () => this.set({ axis: next(Object.keys(axis.SCALES), taste.axis) }),
      help: () => this.toggleList(this.part(".help"), this.part(".keys")),
    };
    actions[action]();
    this.refresh();
  }

  /** A new end of the region: its frequencies stay. */
  reach(found) {
    this.select(found && { ...this.region, ...found });
  }

  /** The picture as it is seen, twice as fine, with recording, model, class and legend over it. */
  picture() {
    const { header, maps } = this.model;
    const ratio = 2;
    const head = 46;
    const page = Object.assign(document.createElement("canvas"), { width: this.plan.width * ratio, height: (this.plan.height + head) * ratio });
    const context = page.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, page.width, page.height);
    this.paintAll(context, ratio, head);
    context.setTransform(ratio, 0, 0, ratio, 0, head * ratio);
    const { axis: ruler, panels } = this.plan;
    context.save();
    context.beginPath();
    context.rect(ruler.x, panels[0].y, ruler.width, ruler.y - panels[0].y);
    context.clip();
    this.drawMarks(context);
    context.restore();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const left = panels[0].x;
    const room = this.plan.width - left - 10;
    const line = (text, y, look) => {
      setFont(context, look?.bold, look?.small);
      write(context, axis.cutText(text, (part) => context.measureText(part).width <= room), left, y, look);
    };
    line([header.title, maps.length === 1 ? maps[0].label : ""].filter(Boolean).join(" · "), 11, { bold: true, color: INK.text });
    line([header.model && `model ${header.model}`, header.answer].filter(Boolean).join(" · "), 26, { small: true });
    const [r, g, b] = evidenceColor(taste.scheme);
    context.fillStyle = `rgb(${r},${g},${b})`;
    context.fillRect(left, 35, 12, 8);
    const share = SHARES[taste.strongest];
    const shown = share >= 1 ? "" : `, strongest ${+(100 * share).toFixed(1)} %`;
    const striped = this.hatched() ? "; in stripes, since this map explains nothing" : "";
    const legend = `evidence${header.evidence ? ` for ${header.evidence}` : ""}${shown}${striped}`;
    write(context, legend, left + 16, 39, { small: true });
    if (taste.against && maps.some((map) => map.against)) {
      const x = left + 28 + context.measureText(legend).width;
      context.fillStyle = `rgb(${againstColor(taste.scheme).join(",")})`;
      context.fillRect(x, 35, 12, 8);
      context.strokeStyle = INK.line;
      context.strokeRect(x, 35, 12, 8);
      write(context, "against it", x + 16, 39, { small: true });
    }
    return page;
  }

  exported(kind) {
    const { header, sounds, maps } = this.model;
    const halves = axis.stretches(axis.strongestFrames(maps[0].sums.overFrames), header.frame_rate_hz);
    const found = halves.map((r, i) => ({ ...r, end: Math.min(r.end, header.duration_s), label: `evidence ${i + 1}` }));
    const notes = this.kept.filter((note) => note.start !== null);
    const regions = notes.length ? notes : found;
    const what = notes.length ? "notes" : "evidence";
    // Name of the recording, of the method where it matters, and of what is in the file: no two exports share a name.
    const name = (ending) => fileName(header.title, ending);
    const method = maps.length === 1 ? `_${fileName(maps[0].label, "")}` : "_maps";
    const regionsOf = notes.length ? "" : method;
    const sound = (key) => wav(sounds.find((s) => s.key === key).samples, header.sample_rate_hz);
    const half = (key) => download([sound(key)], "audio/wav", name(`${method}_${key}-${100 * SOUND_SHARE}.wav`));
    const kinds = {
      png: () => this.picture().toBlob((blob) => download([blob], "image/png", name(`${method}.png`))),
      textgrid: () => download([textGrid(regions, header.duration_s, what)], "text/plain", name(`${regionsOf}_${what}.TextGrid`)),
      audacity: () => download([audacityLabels(regions)], "text/plain", name(`${regionsOf}_${what}_labels.txt`)),
      original: () => download([sound("original")], "audio/wav", name("_original.wav")),
      kept: () => half("kept"),
      removed: () => half("removed"),
    };
    kinds[kind]();
    this.say("Exported.");
  }

  listen() {
    const on = (selector, type, run) => this.part(selector).addEventListener(type, run);
    for (const [selector, action, amount] of [[".play", "toggle"], [".loop", "loop"], [".in", "zoom", 1.6], [".out", "zoom", 1 / 1.6], [".fit", "fit"], [".help", "help"], [".measure", "measure"], [".keep", "keep"], [".clear", "clear"], [".slow", "slow"]]) on(selector, "click", () => this.act(action, amount));
    on(".opacity", "input", (e) => this.set({ opacity: e.target.value / 100 }));
    on(".strongest", "input", (e) => this.set({ strongest: Number(e.target.value) }));
    on(".box", "click", () => this.set({ box: !taste.box }));
    on(".volume", "input", (e) => {
      taste.volume = e.target.value / 100;
      this.sound.setVolume(taste.volume);
    });
    on(".with-against input", "change", (e) => this.set({ against: e.target.checked }));
    on(".with-formants input", "change", (e) => this.set({ formants: e.target.checked }));
    on(".with-whole input", "change", (e) => this.set({ whole: e.target.checked }));
    on(".spectrogram", "change", (e) => this.set({ wide: e.target.value === "wide" }));
    on(".scheme", "change", (e) => this.set({ scheme: e.target.value }));
    on(".axis", "change", (e) => this.set({ axis: e.target.value }));
    const lists = [[".open-view", ".view-list"], [".open-export", ".export-list"]].map((pair) => pair.map((s) => this.part(s)));
    for (const [button, list] of lists) button.addEventListener("click", () => this.toggleList(button, list));
    this.box.addEventListener("pointerdown", (e) => lists.forEach(([button, list]) => !list.parentElement.contains(e.target) && this.toggleList(button, list, false)));
    this.box.querySelectorAll("[data-export]").forEach((button) => button.addEventListener("click", () => this.exported(button.dataset.export)));
    const keys = this.part(".keys dl");
    for (const entry of KEYS.filter((k) => k.says)) {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: entry.shown }), Object.assign(document.createElement("dd"), { textContent: entry.says }));
      keys.append(row);
    }
    this.box.addEventListener("keydown", (event) => {
      // Streamlit listens on the page ("c" and "r" are its own); a key pressed in the player stays in the player.
      event.stopPropagation();
      const target = event.composedPath()[0];
      const open = lists.find(([, list]) => !list.hidden);
      if (event.key === "Escape" && open) {
        this.toggleList(open[0], open[1], false);
        open[0].focus();
        return;
      }
      if (target !== this.seat && (/^(Arrow|Page|Home|End)/.test(event.key) || event.key === " " || target.matches("select"))) return;
      const found = keyAction(event);
      if (!found) return;
      event.preventDefault();
      this.act(found.action, found.amount);
    });
    attachPointer(this, taste);
  }

  close() {
    this.observer.disconnect();
    window.removeEventListener("speechxai-worth", this.judged);
    window.removeEventListener("speechxai-notes", this.noted);
    cancelAnimationFrame(this.frame);
    this.sound.close();
  }
}

export default function ({ data, parentElement, setStateValue }) {
  if (!data) return undefined;
  let player = players.get(parentElement);
  if (!player) {
    player = new Player(parentElement);
    players.set(parentElement, player);
  }
  player.tell = setStateValue;
  player.take(data);
  player.status();
  return () => {
    player.close();
    players.delete(parentElement);
  };
}
