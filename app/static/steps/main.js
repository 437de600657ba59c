// The component of Stepscope's pages: the step bar, or pictures that follow it. One module for all, so that they share the step.

import { bar } from "./bar.js";
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
  return component.data instanceof Uint8Array ? pictures(component) : bar(component);
}
