// The component of Stepscope's pages: the step bar, or pictures that follow it. One module for all, so that they share the step.

import { bar } from "./bar.js";
import { pictures } from "./pictures.js";

export default function (component) {
  return component.data instanceof Uint8Array ? pictures(component) : bar(component);
}
