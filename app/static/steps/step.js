// The denoising step that a page shows. It moves here, without the server; the server is told when it rests.

const REST = 250; // ms without a move until the server is told
const state = {
  step: 0,
  last: 0,
  number: 0, // of the newest move that the server was told
  known: null, // the step that the server has
  playing: false,
  timer: 0,
  frame: 0,
  send: null,
  listeners: new Set(),
};

export const chosen = () => ({ step: state.step, last: state.last });

/** Calls a listener with (step, last) now and at each move, once a painted frame; returns how to stop. */
export function follow(listener) {
  state.listeners.add(listener);
  listener(state.step, state.last);
  return () => state.listeners.delete(listener);
}

/** Moves the step, and tells the server as soon as no move follows. */
export function move(step) {
  const to = Math.min(Math.max(Math.round(step), 0), state.last);
  if (to !== state.step) {
    state.step = to;
    announce();
  }
  rest();
}

/** Whether the step is played: until it stops the server is told nothing. */
export function play(playing) {
  state.playing = playing;
  rest();
}

/** What the server says: its step counts unless the reader has moved since it was told. */
export function hear({ step, last, number }, send) {
  state.send = send;
  const newer = last !== state.last;
  state.last = last;
  if (newer || (number >= state.number && !state.timer && !state.playing)) {
    state.number = Math.max(number, state.number);
    state.known = state.step = step;
  }
  announce();
}

function announce() {
  if (state.frame) return;
  state.frame = requestAnimationFrame(() => {
    state.frame = 0;
    for (const listener of state.listeners) listener(state.step, state.last);
  });
}

function rest() {
  clearTimeout(state.timer);
  state.timer = state.playing ? 0 : setTimeout(tell, REST);
}

function tell() {
  state.timer = 0;
  if (state.step === state.known || !state.send) return;
  state.known = state.step;
  state.number += 1;
  state.send({ step: state.step, number: state.number });
}
