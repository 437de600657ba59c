// Pictures that follow the step: sheets, film strips and maps, side by side or two models on top of each other.
// The server packs them: length of the header (uint32, little endian), header (JSON), images (WebP, PNG or JPEG).

import { mounted, unmount } from "./mount.js";
import { chosen, follow, move } from "./step.js";

const MOST_PIXELS = 24e6; // decoded images that are held
const FLICKER = 500; // ms of each image: one change back and forth a second
const MOST_SHOWN = 8e6; // pixels of the canvas that shows a sheet
const QUIET = 200; // ms without a move after which labels are written: style sheets that look at them cost a frame
const OFFERED = 1000; // ms that a picture's canvas is shown after a click with the right button
const ZOOMS = [1, 1.5, 2, 3, 4];
const MODES = ["Side by side", "Wipe", "Flicker", "Difference"];

/** The type of an image by its first bytes; null where it is neither WebP, PNG nor JPEG. */
function typeOf(bytes) {
  const text = (start, end) => String.fromCharCode(...bytes.subarray(start, end));
  if (text(0, 4) === "RIFF" && text(8, 12) === "WEBP") return "image/webp";
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return "image/jpeg";
  return text(1, 4) === "PNG" && bytes[0] === 0x89 ? "image/png" : null;
}

/** The packed images, decoded once and held while there is room. */
class Images {
  constructor(bytes, start, ready) {
    this.bytes = bytes;
    this.start = start;
    this.ready = ready; // called when an image is there that was wanted before
    this.held = new Map();
    this.asked = new Set();
    this.wanted = new Set();
    this.pixels = 0;
  }

  /** The decoded image at (offset, length), or null for now. */
  get(offset, length) {
    const image = this.held.get(offset);
    if (!image) this.wanted.add(offset);
    if (!image && !this.asked.has(offset)) this.decode(offset, length).catch(() => {});
    return image ?? null;
  }

  async decode(offset, length) {
    this.asked.add(offset);
    const part = this.bytes.subarray(this.start + offset, this.start + offset + length);
    const type = typeOf(part);
    if (!type) throw new Error("not an image");
    const image = await createImageBitmap(new Blob([part], { type }));
    this.held.set(offset, image);
    this.asked.delete(offset);
    this.pixels += image.width * image.height;
    for (const [oldest, dropped] of this.held) {
      if (this.pixels <= MOST_PIXELS || this.held.size < 2) break;
      this.pixels -= dropped.width * dropped.height;
      this.held.delete(oldest);
      dropped.close();
    }
    if (this.wanted.delete(offset)) this.ready();
  }

  close() {
    for (const image of this.held.values()) image.close();
    this.held.clear();
  }
}

function make(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Of a cell's frames the one nearest to a place between noise (0) and image (1); the earlier of two. */
function nearest(cell, progress) {
  const wanted = progress * cell.last;
  return cell.frames.reduce((best, each) => (Math.abs(each[0] - wanted) < Math.abs(best[0] - wanted) ? each : best));
}

class Sheet {
  constructor(root, view) {
    this.root = make("div", "steps-pictures");
    this.view = view;
    this.flicker = 0;
    this.saying = 0;
    this.here = new Map(); // of a strip: layer -> the spot that is outlined
    this.moved = new ResizeObserver(() => this.place());
    this.shape = [64, 64]; // of the last image drawn
    this.open = () => {};
    root.append(this.root);
  }

  /** Draws what the server sent, unless it is what is drawn already. */
  load(bytes) {
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    if (head.id === this.head?.id) return;
    this.clear();
    this.head = head;
    this.images = new Images(bytes, 4 + length, () => this.follow());
    this.build();
    this.prefetch();
    this.unfollow = follow((step, last) => this.draw(last ? step / last : 0));
  }

  clear() {
    this.unfollow?.();
    clearInterval(this.flicker);
    clearTimeout(this.saying);
    this.moved.disconnect();
    this.images?.close();
    this.root.replaceChildren();
  }

  async prefetch() {
    const { head, images } = this;
    for (const cell of head.cells) {
      for (const [, offset, length] of cell.frames) {
        if (this.images !== images || images.pixels > MOST_PIXELS / 2) return;
        if (!images.held.has(offset) && !images.asked.has(offset)) await images.decode(offset, length).catch(() => {});
      }
    }
  }

  build() {
    this.root.replaceChildren();
    clearInterval(this.flicker);
    const compares = this.head.layers.length > 1 && this.head.compare;
    this.root.append(this.toolbar(compares));
    this.grid = make("div", "steps-grid");
    this.grid.tabIndex = 0; // it may scroll sideways
    this.grid.setAttribute("role", "group");
    this.grid.setAttribute("aria-label", "Pictures");
    const apart = this.view.mode === MODES[0] || !compares;
    const lines = apart ? this.head.layers : [{ label: this.pairName() }];
    this.spots = [];
    this.here.clear();
    this.frame(lines);
    this.head.groups.forEach((group, column) => {
      lines.forEach((_, row) => {
        const cells = apart ? [this.cell(row, column)] : this.pair().map((layer) => this.cell(layer, column));
        if (cells.every(Boolean)) this.spots.push(this.spot(cells, row, column, group));
      });
    });
    this.screen = make("canvas", "steps-screen");
    this.screen.setAttribute("aria-hidden", "true");
    this.watch();
    this.grid.append(this.screen);
    this.root.append(this.grid);
    if (this.view.mode === "Flicker" && !apart) this.flicker = setInterval(() => this.turn(), FLICKER);
    this.size();
    this.redraw();
  }

  cell(layer, group) {
    return this.head.cells.find((each) => each.layer === layer && each.group === group);
  }

  pair() {
    const most = this.head.layers.length - 1;
    const first = Math.min(this.view.first, most);
    const second = Math.min(this.view.second, most);
    return [first, second === first ? (first + 1) % (most + 1) : second];
  }

  pairName() {
    const [first, second] = this.pair().map((layer) => this.head.layers[layer].label);
    return { Wipe: `${first} | ${second}`, Flicker: `${first} / ${second}`, Difference: `${first} − ${second}, 4x` }[this.view.mode] ?? "";
  }

  /** Labels of the rows and columns: models across where the sheet says so. */
  frame(lines) {
    const across = this.head.layout === "columns";
    const columns = across ? lines.length : this.head.groups.length;
    this.grid.style.gridTemplateColumns = `minmax(6.5em, max-content) repeat(${columns}, var(--steps-side))`;
    lines.forEach((line, index) => {
      const label = make("div", "steps-label");
      if (/^#[0-9a-f]{6}$/i.test(line.colour ?? "")) {
        const dot = make("span", "steps-dot");
        dot.style.background = line.colour;
        label.append(dot);
      }
      label.append(make("span", "", line.label));
      this.put(label, across ? 1 : index + 2, across ? index + 2 : 1);
    });
    this.head.groups.forEach((group, index) => {
      if (group.title) this.put(make("div", across ? "steps-title steps-row" : "steps-title", group.title), across ? index + 2 : 1, across ? 1 : index + 2);
    });
  }

  put(element, row, column) {
    element.style.gridRow = String(row);
    element.style.gridColumn = String(column);
    this.grid.append(element);
  }

  spot(cells, row, column, group) {
    const acts = group.key || this.head.strip;
    const box = make(acts ? "button" : "div", "steps-spot");
    const canvas = make("canvas", "steps-image");
    [canvas.width, canvas.height] = this.shape; // its place before an image is there: no card moves
    const note = make("span", "steps-note");
    const spot = { cells, canvas, note, box, group, drawn: "", frames: null, said: null, at: null, shown: false };
    if (acts) {
      box.type = "button";
      box.tabIndex = this.head.strip ? -1 : 0;
      box.addEventListener("click", () => this.act(spot));
    } else box.setAttribute("role", "img");
    box.addEventListener("mousedown", (event) => event.button === 2 && this.offer(canvas));
    box.append(canvas);
    if (this.head.notes) box.append(note);
    const across = this.head.layout === "columns";
    this.put(box, across ? column + 2 : row + 2, across ? row + 2 : column + 2);
    return spot;
  }

  act(spot) {
    if (this.head.strip) move((spot.cells[0].frames[0][0] / Math.max(spot.cells[0].last, 1)) * chosen().last);
    else this.open(spot.group.key);
  }

  /** Shows a picture's canvas while the browser's menu opens, so that it offers to save that picture. */
  offer(canvas) {
    canvas.style.visibility = "visible";
    setTimeout(() => (canvas.style.visibility = ""), OFFERED);
  }

  toolbar(compares) {
    const bar = make("div", "steps-tools");
    if (this.head.bar.length) bar.append(this.colourBar());
    if (compares) {
      bar.append(this.choice("Compare", MODES, this.view.mode, (at) => (this.view.mode = MODES[at])));
      if (this.view.mode !== MODES[0]) {
        const names = this.head.layers.map((each) => each.label);
        const [first, second] = this.pair();
        if (names.length > 2) {
          bar.append(this.choice("First", names, names[first], (at) => (this.view.first = at)));
          bar.append(this.choice("Second", names, names[second], (at) => (this.view.second = at)));
        }
      }
      if (this.view.mode === "Wipe") bar.append(this.wiper());
    }
    bar.append(this.choice("Zoom", ZOOMS.map((zoom) => `${zoom}x`), `${this.view.zoom}x`, (at) => (this.view.zoom = ZOOMS[at])));
    return bar;
  }

  colourBar() {
    const [title, ...colours] = this.head.bar;
    const box = make("div", "steps-choice steps-scale");
    const band = make("span", "steps-band");
    if (colours.every((each) => /^#[0-9a-f]{6}$/i.test(each))) band.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
    box.append(make("span", "", `${title}: lowest`), band, make("span", "", "highest"));
    return box;
  }

  choice(label, names, chosenName, act) {
    const box = make("label", "steps-choice");
    const list = make("select", "steps-select");
    list.setAttribute("aria-label", label);
    names.forEach((name) => list.append(make("option", "", name)));
    list.selectedIndex = Math.max(names.indexOf(chosenName), 0);
    list.addEventListener("change", () => {
      act(list.selectedIndex);
      this.build();
      this.root.querySelector(`[aria-label="${label}"]`)?.focus();
    });
    box.append(make("span", "", label), list);
    return box;
  }

  wiper() {
    const box = make("label", "steps-choice");
    const slider = make("input", "steps-wipe");
    slider.type = "range";
    slider.min = "0";
    slider.max = "100";
    slider.value = String(this.view.wipe);
    slider.setAttribute("aria-label", "Place of the wipe");
    slider.addEventListener("input", () => {
      this.view.wipe = Number(slider.value);
      this.redraw();
    });
    box.append(make("span", "", "Wipe"), slider);
    return box;
  }

  size() {
    this.grid.style.setProperty("--steps-side", `${Math.round(this.head.side * this.view.zoom)}px`);
  }

  turn() {
    this.view.second_shown = !this.view.second_shown;
    this.redraw();
  }

  redraw() {
    for (const spot of this.spots) spot.drawn = "";
    this.follow();
  }

  follow() {
    const { step, last } = chosen();
    this.draw(last ? step / last : 0);
  }

  draw(progress) {
    for (const spot of this.spots) this.paint(spot, progress);
    if (this.head.strip) this.outline(progress);
    this.show();
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.spots.forEach((spot) => this.say(spot)), QUIET);
  }

  paint(spot, progress) {
    const frames = spot.cells.map((cell) => nearest(cell, progress));
    const asked = frames.map((frame) => frame[1]).join();
    if (asked === spot.drawn) return;
    const images = frames.map(([, offset, length]) => this.images.get(offset, length));
    const busy = !images.every(Boolean);
    if (busy !== spot.busy) spot.box.setAttribute("aria-busy", String(busy));
    spot.busy = busy;
    if (busy) return;
    spot.drawn = asked;
    spot.frames = frames;
    if (!spot.said) this.say(spot);
    if (this.head.notes) spot.note.textContent = frames.map((frame) => frame[3]).join(" · ");
    const { canvas } = spot;
    const width = Math.max(...images.map((image) => image.width));
    const height = Math.max(...images.map((image) => image.height));
    if (width !== canvas.width || height !== canvas.height) {
      [canvas.width, canvas.height] = [width, height]; // which clears it, and may move others
      for (const each of this.spots) each.at = null;
    }
    this.shape = [width, height];
    canvas.classList.toggle("steps-crisp", canvas.width < 2 * this.head.side * this.view.zoom);
    this.compose(canvas, images);
    spot.shown = false;
  }

  /** Has `place` called when something moves the pictures: the window, or a label whose font has come. */
  watch() {
    this.moved.disconnect();
    this.moved.observe(this.grid);
    for (const each of this.grid.querySelectorAll(".steps-label, .steps-title")) this.moved.observe(each);
  }

  place() {
    for (const spot of this.spots) spot.at = null;
    this.show();
  }

  /** Copies the pictures that changed to the sheet's one canvas, which the browser shows in place of a canvas each: each
   * was a layer, and putting 40 layers in order took 28 ms a frame. */
  show() {
    if (this.spots.some((spot) => !spot.at)) this.measure();
    if (!this.together) return;
    const pen = this.screen.getContext("2d");
    pen.imageSmoothingQuality = "medium";
    for (const spot of this.spots) {
      if (spot.shown || !spot.drawn) continue;
      const [left, top, width, height] = spot.at;
      pen.imageSmoothingEnabled = !spot.canvas.classList.contains("steps-crisp");
      pen.clearRect(left, top, width, height);
      pen.drawImage(spot.canvas, left, top, width, height);
      spot.shown = true;
    }
  }

  /** Where the pictures are on the sheet's canvas, in its pixels; a sheet too large for one shows its pictures' canvases. */
  measure() {
    const { grid, screen } = this;
    const ratio = window.devicePixelRatio || 1;
    screen.style.width = screen.style.height = "0"; // it makes no room itself
    const [width, height] = [Math.round(grid.scrollWidth * ratio), Math.round(grid.scrollHeight * ratio)];
    const origin = grid.getBoundingClientRect();
    const [left, top] = [origin.left + grid.clientLeft - grid.scrollLeft, origin.top + grid.clientTop - grid.scrollTop];
    for (const spot of this.spots) {
      const box = spot.canvas.getBoundingClientRect();
      const ends = [box.left - left, box.top - top, box.right - left, box.bottom - top].map((end) => Math.round(end * ratio));
      spot.at = [ends[0], ends[1], ends[2] - ends[0], ends[3] - ends[1]];
      spot.shown = false;
    }
    this.together = width * height > 0 && width * height <= MOST_SHOWN;
    grid.classList.toggle("steps-together", this.together);
    [screen.width, screen.height] = this.together ? [width, height] : [0, 0];
    [screen.style.width, screen.style.height] = this.together ? [`${width / ratio}px`, `${height / ratio}px`] : ["0", "0"];
  }

  compose(canvas, images) {
    const pen = canvas.getContext("2d");
    const { width, height } = canvas;
    pen.imageSmoothingEnabled = false;
    pen.globalCompositeOperation = "copy"; // over whatever the canvas held
    const shown = images.length > 1 && this.view.mode === "Flicker" && this.view.second_shown ? images[1] : images[0];
    pen.drawImage(shown, 0, 0, width, height);
    pen.globalCompositeOperation = "source-over";
    if (images.length < 2) return;
    if (this.view.mode === "Wipe") {
      const edge = Math.round((this.view.wipe / 100) * width);
      pen.save();
      pen.beginPath();
      pen.rect(edge, 0, width - edge, height);
      pen.clip();
      pen.drawImage(images[1], 0, 0, width, height);
      pen.restore();
    } else if (this.view.mode === "Difference") {
      pen.globalCompositeOperation = "difference";
      pen.drawImage(images[1], 0, 0, width, height);
      pen.globalCompositeOperation = "lighter"; // twice the image, twice: differences are small
      pen.drawImage(canvas, 0, 0);
      pen.drawImage(canvas, 0, 0);
    }
  }

  /** Tells what a picture shows, to those who see it and to those who do not: at first, and once the step rests. */
  say(spot) {
    const { cells, group, frames } = spot;
    if (!frames || spot.said === frames[0][3]) return;
    spot.said = frames[0][3];
    const names = cells.map((cell) => this.head.layers[cell.layer].label).join(" and ");
    const words = `${names}${group.title ? `, ${group.title}` : ""}${group.text ? `, ${group.text}` : ""}: ${spot.said}`;
    spot.box.setAttribute("aria-label", words);
    spot.box.title = words;
  }

  outline(progress) {
    const far = (spot) => Math.abs(spot.cells[0].frames[0][0] / Math.max(spot.cells[0].last, 1) - progress);
    const least = new Map();
    for (const spot of this.spots) {
      const layer = spot.cells[0].layer;
      if (!least.has(layer) || far(spot) < far(least.get(layer))) least.set(layer, spot);
    }
    for (const [layer, spot] of least) {
      if (this.here.get(layer) === spot) continue;
      this.here.get(layer)?.box.classList.remove("steps-here");
      spot.box.classList.add("steps-here");
    }
    this.here = least;
  }

  close() {
    this.clear();
    this.root.remove();
  }
}

export function pictures({ data, parentElement, setTriggerValue }) {
  const sheet = mounted(parentElement, (root) => new Sheet(root, { mode: MODES[0], first: 0, second: 1, wipe: 50, zoom: 1, second_shown: false }));
  sheet.open = (key) => setTriggerValue("opened", key);
  sheet.load(data);
  return unmount(parentElement);
}
