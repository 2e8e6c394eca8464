// Mouse, pen and touch on the stage: click seeks, drag marks, edges move, wheel with Ctrl zooms, the bar below pans.
import { boxed, clampView, formatHz, formatTime, panView, region, timeToX, unitToHz, xToTime, zoomView } from "./axis.js";
import { intervalAt } from "./tracks.js";

const GRAB_PX = 5;

/** Wire the stage of `player` to pointers and wheel. */
export function attachPointer(player, taste) {
  const { seat } = player;
  let drag = null;

  const place = (event) => {
    const bounds = seat.getBoundingClientRect();
    const x = event.clientX - bounds.left;
    const y = event.clientY - bounds.top;
    const { plan, view, model } = player;
    const ruler = plan.axis;
    const time = xToTime(Math.min(ruler.x + ruler.width, Math.max(ruler.x, x)), view, ruler);
    const over = y >= plan.overview.y - 3 && x >= ruler.x - 4;
    const index = plan.panels.findIndex((p) => y >= p.y && y < p.y + p.height && x >= p.x && x <= p.x + p.width);
    const inside = x >= ruler.x - 2 && x <= ruler.x + ruler.width + 2 && y <= ruler.y + ruler.height;
    let hz = null;
    if (index >= 0) hz = hzAt(y, index);
    const tier = plan.tracks.find((t) => t.tier && y >= t.y && y < t.y + t.height && x >= t.x)?.tier ?? null;
    const item = tier && intervalAt(tier, time, (6 / ruler.width) * (view.end - view.start));
    let edge = null;
    if (player.region && inside && !over) {
      for (const side of ["start", "end"]) if (Math.abs(timeToX(player.region[side], view, ruler) - x) <= GRAB_PX) edge = side;
    }
    return { x, y, time, over, inside, hz, index, edge, tier, item };
  };

  const hzAt = (y, index) => {
    const panel = player.plan.panels[index];
    return unitToHz(1 - (y - panel.y) / panel.height, taste.axis, player.topHz());
  };

  const read = (at) => {
    const out = player.part(".readout");
    if (at.hz === null) {
      player.hover = null;
      const label = at.item ? `${at.tier.name}: ${at.item.label} · ` : "";
      out.textContent = at.inside && !at.over ? `${label}${formatTime(at.time, 3)}` : "";
      return;
    }
    const map = player.model.maps[at.index];
    const found = player.reading(at.time, at.hz, map);
    player.hover = { time: at.time, hz: at.hz };
    out.textContent = `${formatTime(at.time, 3)} · ${formatHz(at.hz)} · ${found.db.toFixed(0)} dB · evidence ${found.evidence < 0.0005 ? "0" : found.evidence.toFixed(3)}`;
  };

  seat.addEventListener("pointerdown", (event) => {
    if (!player.model || event.button > 1) return;
    const at = place(event);
    if (!at.inside && !at.over) return;
    seat.setPointerCapture(event.pointerId);
    seat.focus({ preventScroll: true });
    const pan = at.over || event.button === 1 || event.pointerType === "touch";
    drag = { from: at, kind: at.over ? "overview" : pan ? "pan" : at.edge ? "edge" : "mark", view: player.view, moved: false, box: at.index >= 0 && (event.shiftKey || taste.box) };
    player.dragging = true;
    event.preventDefault();
  });

  seat.addEventListener("pointermove", (event) => {
    if (!player.model) return;
    const at = place(event);
    const duration = player.model.header.duration_s;
    if (drag) {
      drag.moved ||= Math.abs(at.x - drag.from.x) > 4;
      const seconds = ((at.x - drag.from.x) / player.plan.axis.width) * (drag.view.end - drag.view.start);
      if (!drag.moved) return;
      if (drag.kind === "mark" && drag.box) player.select(boxed(drag.from, { time: at.time, hz: hzAt(at.y, drag.from.index) }, duration, player.topHz()));
      else if (drag.kind === "mark") player.select(region(drag.from.time, at.time, duration));
      else if (drag.kind === "edge") {
        const other = player.region[drag.from.edge === "start" ? "end" : "start"];
        const moved = region(other, at.time, duration);
        if (moved) {
          drag.from.edge = at.time < other ? "start" : "end";
          player.select({ ...player.region, ...moved });
        }
      } else if (drag.kind === "pan") player.look(panView(drag.view, -seconds, duration));
      else player.look(panView(drag.view, ((at.x - drag.from.x) / player.plan.overview.width) * duration, duration));
      return;
    }
    seat.dataset.at = at.over ? "overview" : at.edge ? "edge" : at.inside ? "stage" : "none";
    read(at);
    player.refresh();
  });

  const release = (event) => {
    if (!drag) return;
    const done = drag;
    drag = null;
    player.dragging = false;
    player.refresh();
    if (done.moved || event.type === "pointercancel") return;
    if (done.kind === "overview") {
      const { overview } = player.plan;
      const duration = player.model.header.duration_s;
      const middle = ((done.from.x - overview.x) / overview.width) * duration;
      const half = (player.view.end - player.view.start) / 2;
      player.look(clampView({ start: middle - half, end: middle + half }, duration));
      return;
    }
    const note = player.tabs.find((tab) => done.from.x >= tab.x && done.from.x <= tab.x + tab.width && done.from.y >= tab.y && done.from.y <= tab.y + tab.height);
    if (note) return player.selectNote(note.id);
    const { item, tier } = done.from;
    if (item && !tier.points) player.select({ start: Math.max(0, item.start), end: Math.min(item.end, player.model.header.duration_s), label: item.label });
    player.sound.seek(item ? item.start : done.from.time);
    if (item && !tier.points && !player.sound.playing) player.act("toggle"); // a phone is short: one click and it is heard
    player.refresh();
  };
  seat.addEventListener("pointerup", release);
  seat.addEventListener("pointercancel", release);
  seat.addEventListener("pointerleave", () => {
    player.hover = null;
    player.part(".readout").textContent = "";
    player.refresh();
  });
  seat.addEventListener("dblclick", () => player.act("fit"));
  seat.addEventListener(
    "wheel",
    (event) => {
      if (!player.model) return;
      const at = place(event);
      const duration = player.model.header.duration_s;
      if (event.ctrlKey || event.metaKey) player.look(zoomView(player.view, 1.0015 ** -event.deltaY, at.time, duration));
      else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        const pixels = event.deltaX || event.deltaY;
        player.look(panView(player.view, (pixels / player.plan.axis.width) * (player.view.end - player.view.start), duration));
      } else return; // a plain wheel scrolls the page
      event.preventDefault();
    },
    { passive: false },
  );
}
