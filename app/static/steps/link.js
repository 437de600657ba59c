// Copy link: the address of what is seen, with its snapshot, without the server.

import { mounted, unmount } from "./mount.js";

const SAID = 4000; // ms for which it says what was copied
const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])$/;
const ICON = "M3.9 12a3.1 3.1 0 0 1 3.1-3.1h4V7H7a5 5 0 0 0 0 10h4v-1.9H7A3.1 3.1 0 0 1 3.9 12zM8 13h8v-2H8zm9-6h-4v1.9h4a3.1 3.1 0 0 1 0 6.2h-4V17h4a5 5 0 0 0 0-10z";

/** The link to what is seen: under the public address where there is one, with the snapshot that is shown. */
export function address(location, { snapshot, address: base }) {
  const url = new URL(location.href);
  const page = url.pathname.split("/").pop();
  const target = base ? new URL(`${base}/${page}`) : new URL(url.origin + url.pathname);
  target.search = url.search;
  if (snapshot) target.searchParams.set("snapshot", String(snapshot));
  return target.href;
}

/** The address with the filters in force that it lacks: a widget in a closed panel is not there to write its own. */
export function complete(location, filters) {
  const url = new URL(location.href);
  for (const [key, values] of Object.entries(filters || {})) {
    if (!url.searchParams.has(key)) for (const value of values) url.searchParams.append(key, value);
  }
  return url.href;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea"); // a page that is not served by https has no clipboard
  field.value = text;
  field.setAttribute("readonly", "");
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("not copied");
}

class Link {
  constructor(root) {
    this.timer = 0;
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "steps-copy";
    this.button.title = "Copies the address of what you see, with its snapshot: it shows the same after the next publish.";
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", ICON);
    svg.append(path);
    this.label = document.createElement("span");
    this.label.textContent = "Copy link";
    this.button.append(svg, this.label);
    this.said = document.createElement("span");
    this.said.className = "steps-said";
    this.said.setAttribute("role", "status");
    this.button.addEventListener("click", () => this.copy());
    root.append(this.button, this.said);
  }

  async copy() {
    const text = address(window.location, this.data);
    const local = LOCAL.test(new URL(text).hostname);
    try {
      await copy(text);
      this.say("Copied", local ? "Link copied. Its address is of this computer: nobody else can open it." : "Link copied");
    } catch {
      window.prompt("Copy this link:", text);
    }
    this.button.dataset.copied = text;
  }

  say(short, long) {
    this.label.textContent = short;
    this.said.textContent = long;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.label.textContent = "Copy link";
      this.said.textContent = "";
    }, SAID);
  }

  close() {
    clearTimeout(this.timer);
    this.button.remove();
    this.said.remove();
  }
}

export function link({ data, parentElement }) {
  mounted(parentElement, (root) => new Link(root)).data = data.link;
  const whole = complete(window.location, data.link.filters);
  if (whole !== window.location.href) window.history.replaceState(window.history.state, "", whole);
  return unmount(parentElement);
}
