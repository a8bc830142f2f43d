// Which views show the same memory: a buffer of the language, several views on it, slices of one Buffer of Node's. Knows
// neither values nor texts.

import { types } from "node:util";

const ALIGNED = 8; // no view's elements are larger

export class Memory {
  constructor() {
    this.views = new Map(); // buffer -> the views on it that are stored
    this.buffers = new Set(); // those that are stored themselves
  }

  view(view) {
    const views = this.views.get(view.buffer);
    if (views) views.push(view);
    else this.views.set(view.buffer, [view]);
  }

  buffer(buffer) {
    this.buffers.add(buffer);
  }

  // View -> [what is to be stored for its memory, where in that it begins]; none for a view that is all there is of its
  // memory. What is to be stored is added to `shared`.
  backings(shared) {
    const found = new Map();
    for (const [buffer, views] of this.views) {
      if (!this.buffers.has(buffer) && isPiece(buffer, views)) pieces(views, found, shared);
      else if (this.buffers.has(buffer) || views.length > 1 || views[0].byteLength < buffer.byteLength) {
        shared.add(buffer);
        for (const view of views) found.set(view, [buffer, view.byteOffset]);
      }
    }
    return found;
  }
}

// Whether the views are of memory that Node.js gives out in pieces, where others have theirs.
function isPiece(buffer, views) {
  if (!views.some(Buffer.isBuffer)) return false;
  return buffer.byteLength === Buffer.poolSize || views.every((view) => Buffer.isBuffer(view) || types.isDataView(view));
}

// Views that overlap get a buffer that has what they show, and nothing of others.
function pieces(views, found, shared) {
  const sorted = [...views].sort((a, b) => a.byteOffset - b.byteOffset);
  let together = [];
  let end = 0;
  const close = () => {
    if (together.length > 1) {
      const start = together[0].byteOffset - (together[0].byteOffset % ALIGNED);
      const buffer = new ArrayBuffer(end - start);
      for (const view of together) {
        new Uint8Array(buffer).set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), view.byteOffset - start);
        found.set(view, [buffer, view.byteOffset - start]);
      }
      shared.add(buffer);
    }
    together = [];
  };
  for (const view of sorted) {
    if (view.byteOffset >= end) close();
    together.push(view);
    end = Math.max(end, view.byteOffset + view.byteLength);
  }
  close();
}
