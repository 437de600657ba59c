// What a component has drawn stays while its element is on the page. Streamlit also cleans up after a message that the next one
// overtook, maybe after that one was drawn: on a busy machine the slider was gone for two seconds, with its focus.

const drawn = new WeakMap();

/** What is drawn in an element: once, by `draw(element)`, however often the server speaks. */
export function mounted(element, draw) {
  if (!drawn.has(element)) drawn.set(element, draw(element));
  return drawn.get(element);
}

/** A component's cleanup: closes what is drawn once its element has left the page. */
export function unmount(element) {
  return () =>
    setTimeout(() => {
      if (element.isConnected) return;
      drawn.get(element)?.close();
      drawn.delete(element);
    });
}
