// The component of Stepscope's pages: the step bar, pictures that follow it, or Copy link. One module for all, so that they share the step.

import { bar } from "./bar.js";
import { link } from "./link.js";
import { pictures } from "./pictures.js";

/** Nothing to see: the component's style sheet on a page that has neither. */
function style({ parentElement }) {
  if (parentElement.querySelector(".steps-style")) return;
  const mark = document.createElement("span");
  mark.className = "steps-style";
  parentElement.append(mark);
}

export default function (component) {
  if (component.data === "style") return style(component);
  if (component.data instanceof Uint8Array) return pictures(component);
  return component.data.link ? link(component) : bar(component);
}
