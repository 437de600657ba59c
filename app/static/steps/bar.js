// The step bar: play, loop, one step back or forward, and a slider. Shift and an arrow key move the step from anywhere.

import { mounted, unmount } from "./mount.js";
import { chosen, follow, hear, move, play } from "./step.js";

const WHOLE = 4000; // ms in which all steps are played
const SHORTEST = 1000 / 30; // ms that a step is shown at least
const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M6 5h4v14H6zM14 5h4v14h-4z",
  loop: "M7 7h10v3l4-4-4-4v3H5v6h2zM17 17H7v-3l-4 4 4 4v-3h12v-6h-2z",
  back: "M15.4 7.4 14 6l-6 6 6 6 1.4-1.4L10.8 12z",
  forward: "M8.6 16.6 10 18l6-6-6-6-1.4 1.4 4.6 4.6z",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function button(name, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = `steps-button steps-${name}`;
  made.setAttribute("aria-label", label);
  made.title = label;
  made.append(icon(name));
  made.addEventListener("click", act);
  return made;
}

class Bar {
  constructor(root) {
    this.timer = 0;
    this.loops = false;
    this.bar = document.createElement("div");
    this.bar.className = "steps-bar";
    this.bar.setAttribute("role", "group");
    this.bar.setAttribute("aria-label", "Step control");
    this.playing = button("play", "Play the steps", () => (this.timer ? this.stop() : this.start()));
    this.loop = button("loop", "Repeat while playing", () => this.repeat());
    this.loop.setAttribute("aria-pressed", "false");
    this.slider = document.createElement("input");
    this.slider.type = "range";
    this.slider.min = "0";
    this.slider.setAttribute("aria-label", "Denoising step");
    this.slider.title = "Moves every picture and marker on the page. Step 0 is the noisiest; Shift with the arrow keys moves it.";
    this.slider.addEventListener("input", () => this.to(Number(this.slider.value)));
    this.place = document.createElement("output");
    this.place.className = "steps-place";
    this.bar.append(
      this.playing,
      this.loop,
      button("back", "One step back (Shift + left arrow)", () => this.to(chosen().step - 1)),
      this.slider,
      button("forward", "One step forward (Shift + right arrow)", () => this.to(chosen().step + 1)),
      this.place,
    );
    root.append(this.bar);
    this.keys = (event) => this.key(event);
    document.addEventListener("keydown", this.keys);
    this.unfollow = follow((step, last) => this.show(step, last));
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const writes = event.target.closest?.("textarea, [contenteditable], input:not([type=range]), [role=slider], [role=radiogroup]");
    if (!by || !event.shiftKey || event.ctrlKey || event.altKey || event.metaKey || writes) return;
    event.preventDefault();
    this.to(chosen().step + by);
  }

  to(step) {
    this.stop();
    move(step);
  }

  repeat() {
    this.loops = !this.loops;
    this.loop.setAttribute("aria-pressed", String(this.loops));
  }

  start() {
    const { step, last } = chosen();
    play(true);
    if (step >= last) move(0);
    this.timer = setInterval(() => this.next(), Math.max(SHORTEST, WHOLE / Math.max(last, 1)));
    this.face("pause", "Pause");
  }

  next() {
    const { step, last } = chosen();
    if (step < last) move(step + 1);
    else if (this.loops) move(0);
    else this.stop();
  }

  stop() {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = 0;
    play(false);
    this.face("play", "Play the steps");
  }

  face(name, label) {
    this.playing.replaceChildren(icon(name));
    this.playing.setAttribute("aria-label", label);
    this.playing.title = label;
  }

  show(step, last) {
    this.slider.max = String(last);
    this.slider.value = String(step);
    this.slider.setAttribute("aria-valuetext", `Step ${step} of 0 to ${last}`);
    this.place.textContent = `Step ${step} / ${last}`;
  }

  close() {
    this.stop();
    this.unfollow();
    document.removeEventListener("keydown", this.keys);
    this.bar.remove();
  }
}

export function bar({ data, parentElement, setTriggerValue }) {
  hear(data, (moved) => setTriggerValue("moved", moved));
  mounted(parentElement, (root) => new Bar(root));
  return unmount(parentElement);
}
