// The reader's screen: one page of questions round the player. It times what the reader does and tells the server; what
// comes next, and whether an answer fits, the server says. Idempotent: the same page again keeps what was chosen.
const seats = new WeakMap();
const TICK_MS = 50;
const MOST_BOXES = 5;

/** Read the container: "SXR1", header length, JSON header, length of the player's block, the block, a picture. */
function openPage(bytes) {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = data.getUint32(4, true);
  const page = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const block = data.getUint32(8 + length, true);
  const from = 12 + length;
  return { page, player: block ? bytes.slice(from, from + block) : null, picture: bytes.slice(from + block) };
}

class Reader {
  constructor(root) {
    this.root = root;
    this.main = root.querySelector(".reader");
    this.part = (selector) => this.main.querySelector(selector);
    this.form = this.part("form");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    // Streamlit listens on the page; a key pressed here stays here.
    this.main.addEventListener("keydown", (event) => event.stopPropagation());
    this.part(".pause").addEventListener("click", () => this.rest(true));
    this.part(".resume").addEventListener("click", () => this.rest(false));
    this.clock = setInterval(() => this.tick(), TICK_MS);
    this.boxes = [];
  }

  take(bytes) {
    const { page, player, picture } = openPage(bytes);
    const token = `${page.slot}/${page.stage}`;
    const same = token === this.token;
    this.page = page;
    this.part(".go").disabled = false;
    this.part(".error").textContent = page.error ?? "";
    if (same) return;
    const first = this.token === undefined;
    this.token = token;
    this.part(".title").textContent = page.title;
    this.part(".progress").textContent = page.progress;
    this.main.dataset.show = page.show;
    this.part(".text").replaceChildren(...page.text.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
    this.boxes = [];
    this.part(".questions").replaceChildren(...page.questions.map((question) => this.ask(question)));
    this.part(".go").textContent = page.button;
    this.part(".go").hidden = !page.button;
    this.part(".pause").hidden = !page.pause;
    this.listen(player);
    const curves = this.part(".curves");
    URL.revokeObjectURL(curves.src);
    curves.hidden = !picture.length;
    if (picture.length) curves.src = URL.createObjectURL(new Blob([picture], { type: "image/png" }));
    Object.assign(this, { since: performance.now(), paused: 0, plays: 0, played: 0, last: performance.now() });
    this.drawBoxes();
    if (!first) this.part(".title").focus({ preventScroll: true });
    this.main.scrollIntoView({ block: "start" });
    this.main.dataset.token = token;
  }

  listen(block) {
    const place = this.part(".sound");
    place.hidden = !block;
    if (!block) {
      this.player?.sound.pause();
      return;
    }
    mountPlayer({ data: block, parentElement: place, setStateValue: () => {} });
    if (this.player) return;
    this.player = players.get(place);
    const act = this.player.act.bind(this.player);
    this.player.act = (action, amount) => {
      if (action === "toggle" && !this.player.sound.playing) this.plays += 1;
      return act(action, amount);
    };
    this.pad = Object.assign(document.createElement("div"), { className: "pad" });
    place.querySelector(".stage").append(this.pad);
    this.drawn = new MutationObserver(() => this.drawBoxes());
    this.drawn.observe(place.querySelector(".player"), { attributes: true, attributeFilter: ["data-paints", "data-view"] });
    let from = null;
    const at = (event) => this.place(event);
    this.pad.addEventListener("pointerdown", (event) => {
      if (this.boxes.length >= MOST_BOXES) return;
      this.pad.setPointerCapture(event.pointerId);
      from = at(event);
      event.preventDefault();
    });
    this.pad.addEventListener("pointerup", (event) => {
      if (!from) return;
      const to = at(event);
      const box = [Math.min(from.time, to.time), Math.max(from.time, to.time), Math.min(from.hz, to.hz), Math.max(from.hz, to.hz)];
      from = null;
      if (box[1] - box[0] > 0.01 && box[3] - box[2] > 20) this.addBox(box);
    });
  }

  top() {
    return this.player.topHz?.() ?? this.player.model.header.max_hz;
  }

  place(event) {
    const bounds = this.pad.getBoundingClientRect();
    const rect = this.player.plan.panels[0];
    const inside = (v, low, high) => Math.min(high, Math.max(low, v));
    const x = inside(event.clientX - bounds.left, rect.x, rect.x + rect.width);
    const y = inside(event.clientY - bounds.top, rect.y, rect.y + rect.height);
    return { time: xToTime(x, this.player.view, rect), hz: unitToHz(1 - (y - rect.y) / rect.height, taste.axis, this.top()) };
  }

  addBox(box) {
    this.boxes.push(box.map((edge, i) => (i < 2 ? +edge.toFixed(3) : Math.round(edge))));
    this.drawBoxes();
    this.listBoxes();
  }

  drawBoxes() {
    if (!this.pad || !this.player?.plan) return;
    const rect = this.player.plan.panels[0];
    const marks = this.boxes.map(([start, end, low, high]) => {
      const mark = Object.assign(document.createElement("div"), { className: "mark" });
      const [x, x2] = [start, end].map((time) => Math.min(rect.x + rect.width, Math.max(rect.x, timeToX(time, this.player.view, rect))));
      const [y, y2] = [high, low].map((hz) => rect.y + (1 - hzToUnit(hz, taste.axis, this.top())) * rect.height);
      Object.assign(mark.style, { left: `${x}px`, top: `${y}px`, width: `${Math.max(1, x2 - x)}px`, height: `${Math.max(1, y2 - y)}px` });
      return mark;
    });
    this.pad.replaceChildren(...marks);
  }

  listBoxes() {
    const list = this.part(".list-of-boxes");
    if (!list) return;
    const rows = this.boxes.map((box, k) => {
      const row = Object.assign(document.createElement("div"), { className: "edges" });
      ["from, s", "to, s", "from, Hz", "to, Hz"].forEach((name, i) => {
        const label = document.createElement("label");
        const input = Object.assign(document.createElement("input"), { type: "number", value: box[i], min: 0, step: i < 2 ? 0.01 : 10 });
        input.addEventListener("change", () => {
          box[i] = Number(input.value);
          this.drawBoxes();
        });
        label.append(name, input);
        row.append(label);
      });
      const gone = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: "Remove" });
      gone.setAttribute("aria-label", `Remove box ${k + 1}`);
      gone.addEventListener("click", () => {
        this.boxes.splice(k, 1);
        this.drawBoxes();
        this.listBoxes();
      });
      row.append(gone);
      return row;
    });
    list.replaceChildren(...rows);
  }

  /** One question as a fieldset; every control is a native one, so that the keyboard and screen readers know it. */
  ask(question) {
    const set = document.createElement("fieldset");
    set.dataset.name = question.name;
    set.append(Object.assign(document.createElement("legend"), { textContent: question.label + (question.required ? "" : " (if you like)") }));
    if (question.kind === "text") {
      const area = Object.assign(document.createElement("textarea"), { name: question.name, maxLength: 2000 });
      area.setAttribute("aria-label", question.label);
      set.append(area);
    } else if (question.kind === "box") {
      const draw = Object.assign(document.createElement("button"), { type: "button", className: "small draw", textContent: "Draw a box" });
      draw.setAttribute("aria-pressed", "false");
      draw.addEventListener("click", () => {
        const on = this.pad.classList.toggle("drawing");
        draw.setAttribute("aria-pressed", String(on));
      });
      const type = Object.assign(document.createElement("button"), { type: "button", className: "small type", textContent: "Type its edges" });
      type.addEventListener("click", () => {
        if (this.boxes.length >= MOST_BOXES) return;
        const duration = this.player.model.header.duration_s;
        const middle = this.player.sound.position();
        const region = this.player.region ?? { start: Math.max(0, middle - 0.25), end: Math.min(duration, middle + 0.25) };
        this.addBox([region.start, region.end, 0, Math.min(4000, this.player.model.header.max_hz)]);
        this.part(".list-of-boxes .edges:last-child input").focus();
      });
      const row = Object.assign(document.createElement("div"), { className: "options" });
      row.append(draw, type);
      set.append(row, Object.assign(document.createElement("div"), { className: "list-of-boxes" }));
      this.pad?.classList.remove("drawing");
    } else {
      const row = Object.assign(document.createElement("div"), { className: "options" });
      question.options.forEach(([value, words]) => {
        const label = document.createElement("label");
        const type = question.kind === "several" ? "checkbox" : "radio";
        const input = Object.assign(document.createElement("input"), { type, name: question.name });
        input.dataset.value = JSON.stringify(value);
        label.append(input, Object.assign(document.createElement("span"), { textContent: words }));
        row.append(label);
      });
      set.append(row);
    }
    if (question.hint) set.append(Object.assign(document.createElement("p"), { className: "hint", textContent: question.hint }));
    return set;
  }

  answers() {
    const found = {};
    for (const question of this.page.questions) {
      const set = this.part(`fieldset[data-name="${question.name}"]`);
      const chosen = [...set.querySelectorAll("input:checked")].map((input) => JSON.parse(input.dataset.value));
      if (question.kind === "text") found[question.name] = set.querySelector("textarea").value.trim();
      else if (question.kind === "box") found[question.name] = this.boxes;
      else found[question.name] = question.kind === "several" ? chosen : (chosen[0] ?? null);
    }
    return found;
  }

  tick() {
    const now = performance.now();
    if (this.resting) this.paused += now - this.last;
    if (this.player?.sound.playing) this.played += now - this.last;
    this.last = now;
  }

  rest(on) {
    this.tick();
    this.resting = on;
    this.player?.sound.pause();
    this.player?.refresh();
    this.part(".body").hidden = on;
    this.part(".rest").hidden = !on;
    this.part(on ? ".resume" : ".pause").focus();
  }

  send() {
    if (this.part(".go").disabled || !this.page.button) return;
    const answers = this.answers();
    const missing = this.page.questions.find((q) => q.required && (answers[q.name] === null || answers[q.name].length === 0));
    if (missing) {
      this.part(".error").textContent = `Please answer: ${missing.label}`;
      this.part(`fieldset[data-name="${missing.name}"] input`).focus();
      return;
    }
    this.tick();
    this.player?.sound.pause();
    this.player?.refresh();
    this.part(".go").disabled = true;
    this.part(".error").textContent = "";
    const { slot, stage } = this.page;
    this.tell("answer", {
      slot,
      stage,
      answers,
      rt_ms: performance.now() - this.since - this.paused,
      plays: this.plays,
      played_s: this.played / 1000,
      paused_ms: this.paused,
    });
  }

  close() {
    clearInterval(this.clock);
    this.drawn?.disconnect();
    this.player?.close();
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  if (!data) return undefined;
  let reader = seats.get(parentElement);
  if (!reader) {
    reader = new Reader(parentElement);
    const place = parentElement.querySelector(".sound");
    place.append(parentElement.querySelector("template.player-html").content.cloneNode(true));
    seats.set(parentElement, reader);
  }
  reader.tell = setTriggerValue;
  reader.take(data);
  return () => {
    reader.close();
    seats.delete(parentElement);
  };
}
