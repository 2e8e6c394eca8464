// The player: sound, picture and tracks on one time axis. Called by Streamlit whenever its data change; idempotent.
import * as axis from "./axis.js";
import { Sound } from "./audio.js";
import { againstColor, colorTable, evidenceColor, SCHEMES } from "./colors.js";
import { drawBands, drawFrequencyAxis, drawTimeAxis, INK, layout, paint, write } from "./draw.js";
import { audacityLabels, download, fileName, textGrid, wav } from "./exports.js";
import { keyAction, KEYS } from "./keys.js";
import { attachPointer } from "./pointer.js";
import { drawTrack, trackList } from "./tracks.js";
import { sums, unpack } from "./unpack.js";

export const SHARES = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1];
const players = new WeakMap();
// How a reader likes to look at pictures outlives a page: it is kept in the window, never on a disk.
const taste = (window.__speechxaiTaste ??= { scheme: "gray", axis: "linear", opacity: 0.85, strongest: 5, against: true });

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
    this.kept = [];
    this.hover = null;
    this.view = { start: 0, end: 1 };
    this.listen();
    this.observer = new ResizeObserver(() => this.model && this.draw());
    this.observer.observe(this.part(".stage"));
    this.judged = () => this.model && this.settle();
    window.addEventListener("speechxai-worth", this.judged);
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
      this.kept = [];
      this.sound.loop = null;
      this.sound.chosen = 0;
    }
    this.sound.load(model.sounds, header.sample_rate_hz, header.duration_s, same);
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

  /** Whether the verdict on the shown map, which comes later than the map, is that it explains nothing. */
  hatched() {
    const { header } = this.model;
    const said = window.__speechxaiWorth;
    return header.maps.length === 1 && said?.verdict === "nothing" && said.recording === header.recording && said.map === header.maps[0].key;
  }

  /** Bring codes and sums in line with the settings, then draw. */
  settle() {
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
    strongest.setAttribute("aria-valuetext", share >= 1 ? "all bins" : `strongest ${+(100 * share).toFixed(1)} percent of the bins`);
    this.part(".share").textContent = words;
    const color = evidenceColor(taste.scheme).join(",");
    this.box.toggleAttribute("data-hatched", this.hatched());
    const ramp = (c) => `linear-gradient(90deg, rgba(${c},.15), rgb(${c}))`;
    this.part(".legend i").style.background = ramp(color);
    this.part(".legend i.other").style.background = ramp(againstColor(taste.scheme).join(","));
    const { evidence } = this.model.header;
    const two = this.model.maps.some((map) => map.against);
    this.part(".legend .for").textContent = evidence ? `evidence for ${evidence}` : "evidence";
    this.part(".legend .against").hidden = !two || !taste.against;
    this.part(".with-against").hidden = !two;
    this.part(".with-against input").checked = taste.against;
    this.draw();
  }

  measure() {
    const bands = this.model.header.bands;
    for (const map of this.model.maps) map.sums = sums(this.model, map, map.least, bands, this.region);
  }

  /** Draw picture, tracks and axes; what moves is drawn on the glass above. */
  draw() {
    const { model } = this;
    const { header } = model;
    const width = Math.floor(this.part(".stage").clientWidth);
    if (width < 80) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const tracks = trackList(model, header.maps.length > 1);
    const height = header.height ?? (header.maps.length > 1 ? 104 : width < 560 ? 220 : 270);
    this.plan = layout(width, { nMaps: header.maps.length, height, tracks });
    for (const canvas of [this.base, this.glass]) {
      if (canvas.width !== width * ratio || canvas.height !== this.plan.height * ratio) {
        canvas.width = width * ratio;
        canvas.height = this.plan.height * ratio;
        canvas.style.height = `${this.plan.height}px`;
      }
    }
    const context = this.base.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, this.base.width, this.base.height);
    const color = evidenceColor(taste.scheme);
    this.plan.panels.forEach((rect, i) => {
      const image = context.createImageData(Math.round(rect.width * ratio), Math.round(rect.height * ratio));
      const map = model.maps[i];
      paint(image, model, map, { view: this.view, axis: taste.axis, table: colorTable(taste.scheme), color, opacity: taste.opacity, least: map.least, hatched: this.hatched(), ratio, against: taste.against ? againstColor(taste.scheme) : null });
      context.putImageData(image, Math.round(rect.x * ratio), Math.round(rect.y * ratio));
    });
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.plan.panels.forEach((rect, i) => {
      drawFrequencyAxis(context, rect, taste.axis, header.max_hz);
      if (this.plan.panels.length > 1) {
        write(context, model.maps[i].label, rect.x, rect.y - 9, { color: INK.text, bold: true });
        write(context, model.maps[i].note ?? "", rect.x + rect.width, rect.y - 9, { align: "right", small: true });
      }
    });
    const state = { view: this.view, sound: this.sound.chosen, sums: model.maps[0].sums, trackColor: taste.scheme === "gray" ? color : [192, 62, 10] };
    for (const rect of this.plan.tracks) drawTrack(context, rect, model, state);
    drawTimeAxis(context, this.plan.axis, this.view);
    if (this.plan.bands) drawBands(context, this.plan.bands, model.maps[0].sums.bands, taste.axis, header.max_hz, state.trackColor);
    this.refresh();
    this.box.dataset.drawn = header.version;
    this.box.dataset.paints = String(Number(this.box.dataset.paints ?? 0) + 1);
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
    for (const item of this.kept) this.shade(context, item, "rgba(11,102,112,.10)", top, bottom);
    if (this.region) this.shade(context, this.region, this.sound.loop ? "rgba(11,102,112,.24)" : "rgba(11,102,112,.16)", top, bottom);
    context.restore();
    if (this.hover) {
      line(this.hover.time, "rgba(31,42,48,.45)", 1);
      context.fillStyle = "rgba(31,42,48,.45)";
      for (const rect of panels) context.fillRect(rect.x, rect.y + (1 - axis.hzToUnit(this.hover.hz, taste.axis, this.model.header.max_hz)) * rect.height, rect.width, 1);
    }
    line(at, INK.head, 2);
    this.drawOverview(context, duration, at);
    const playing = this.sound.playing;
    this.box.toggleAttribute("data-playing", playing);
    Object.assign(this.box.dataset, { position: at.toFixed(3), sound: this.model.sounds[this.sound.chosen]?.key ?? "", view: `${this.view.start.toFixed(3)} ${this.view.end.toFixed(3)}` });
    this.part(".play").setAttribute("aria-label", playing ? "Pause" : "Play");
    this.part(".clock").textContent = `${axis.formatTime(at)} / ${axis.formatTime(duration, 1)}`;
    this.part(".loop").setAttribute("aria-pressed", String(Boolean(this.sound.loop)));
    this.box.querySelectorAll(".sounds input").forEach((input, i) => (input.checked = i === this.sound.chosen));
    if (!playing) this.describe(at);
    if (playing && !this.frame) this.frame = requestAnimationFrame(() => ((this.frame = 0), this.refresh()));
  }

  shade(context, item, color, top, bottom) {
    const x = axis.timeToX(item.start, this.view, this.plan.axis);
    const x2 = axis.timeToX(item.end, this.view, this.plan.axis);
    context.fillStyle = color;
    context.fillRect(x, top, x2 - x, bottom - top);
    context.fillStyle = INK.voice;
    context.fillRect(x - 0.5, top, 1, bottom - top);
    context.fillRect(x2 - 0.5, top, 1, bottom - top);
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
    let text = this.kept.length ? `${this.kept.length} region${this.kept.length > 1 ? "s" : ""} kept for the export. ` : "";
    if (region) {
      const all = model.maps[0].sums.overFrames;
      const rate = model.header.frame_rate_hz;
      let part = 0;
      let whole = 0;
      all.forEach((v, t) => {
        whole += v;
        if (t >= region.start * rate && t <= region.end * rate) part += v;
      });
      const length = (region.end - region.start) / model.header.duration_s;
      text += `Region ${axis.formatTime(region.start)} to ${axis.formatTime(region.end)}: ${whole > 0 ? Math.round((100 * part) / whole) : 0} % of the shown evidence in ${Math.round(100 * length)} % of the time.`;
    } else if (!text) text = "Click to listen from there, drag to mark a region. Bars at the right: share of the evidence in each band; dark mark: share a map of the loudest sound would have.";
    if (!region && model.maps.length > 1) text = "Click to listen from there, drag to mark a region. The cursor is linked across all maps.";
    this.part(".status").textContent = text;
    this.part(".measure").hidden = !region || model.maps.length > 1;
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
      mark_start: () => this.select(axis.region(at, this.region && this.region.end > at ? this.region.end : duration, duration)),
      mark_end: () => this.select(axis.region(this.region && this.region.start < at ? this.region.start : 0, at, duration)),
      loop: () => {
        if (!sound.loop && !this.region) this.select({ start: this.view.start, end: this.view.end });
        sound.setLoop(sound.loop ? null : this.region);
        this.say(sound.loop ? "Loop on" : "Loop off");
      },
      keep: () => {
        if (!this.region) return this.say("Mark a region first.");
        this.kept.push({ ...this.region, label: `region ${this.kept.length + 1}` });
        this.say(`Region ${this.kept.length} kept.`);
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

  exported(kind) {
    const { header, sounds } = this.model;
    const halves = axis.stretches(axis.strongestFrames(this.model.maps[0].sums.overFrames), header.frame_rate_hz);
    const found = halves.map((r, i) => ({ ...r, end: Math.min(r.end, header.duration_s), label: `evidence ${i + 1}` }));
    const regions = this.kept.length ? this.kept : found;
    const name = (ending) => fileName(header.title, ending);
    const sound = (key) => sounds.find((s) => s.key === key);
    const kinds = {
      png: () => this.base.toBlob((blob) => download([blob], "image/png", name(".png"))),
      textgrid: () => download([textGrid(regions, header.duration_s)], "text/plain", name(".TextGrid")),
      audacity: () => download([audacityLabels(regions)], "text/plain", name("_labels.txt")),
      kept: () => download([wav(sound("kept").samples, header.sample_rate_hz)], "audio/wav", name("_kept.wav")),
      removed: () => download([wav(sound("removed").samples, header.sample_rate_hz)], "audio/wav", name("_removed.wav")),
    };
    kinds[kind]();
    this.say("Exported.");
  }

  listen() {
    const on = (selector, type, run) => this.part(selector).addEventListener(type, run);
    for (const [selector, action, amount] of [[".play", "toggle"], [".loop", "loop"], [".in", "zoom", 1.6], [".out", "zoom", 1 / 1.6], [".fit", "fit"], [".help", "help"], [".measure", "measure"]]) on(selector, "click", () => this.act(action, amount));
    on(".opacity", "input", (e) => this.set({ opacity: e.target.value / 100 }));
    on(".strongest", "input", (e) => this.set({ strongest: Number(e.target.value) }));
    on(".with-against input", "change", (e) => this.set({ against: e.target.checked }));
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
