/* An answer that leaves in pieces, as they come, for fluxions without a context; as `liquefy/streaming.py`.
 *
 *     import { current } from "liquefy/streaming";
 *     const stream = current();
 *     stream.send(200, [["content-type", "text/event-stream"]], Buffer.from("data: 1\n\n"));
 *     stream.send(200, [], Buffer.from("data: 2\n\n"));
 *     // the promise of the fluxion, once it resolves to nothing, ends it
 *
 * A piece is out when `send` returns, so none of this can be taken back: what throws after the first piece breaks the client's
 * connection off instead of answering 500, and is not tried again. Once the first piece is out the time limit of the call
 * is off. Does not know who listens, nor how pieces travel. */
import { AsyncLocalStorage } from "node:async_hooks";

import { pack } from "./values.mjs";

const OUTPUT = "output";

/** What belongs to the call that is under way here: {fail, stream}. */
export const calls = new AsyncLocalStorage();

/** The stream of the message that is being handled; null where there is none. */
export function current() {
  return calls.getStore()?.stream ?? null;
}

/** The answer of one message, as far as it is streamed. `onGone` is called once, when the client is gone. */
export class Stream {
  #ticket;
  #send;

  constructor(ticket, send) {
    this.number = 0;
    this.gone = false;
    this.onGone = () => {};
    /** Ends the time limit of the call. */
    this.unlimit = () => {};
    this.#ticket = ticket;
    this.#send = send;
  }

  /** The next piece. Only the first one's status and headers count. */
  send(status = 200, headers = [], body = Buffer.alloc(0)) {
    if (!this.number) this.unlimit();
    this.number += 1;
    this.#send(["piece", this.#ticket, [OUTPUT, "", pack(Buffer.from(body)), 0, status, headers, this.number]]);
  }

  /** What tells that no more will come. */
  end() {
    return [OUTPUT, "", pack(Buffer.alloc(0)), 0, 0, [], -this.number - 1];
  }

  /** The client is gone. */
  hungUp() {
    if (this.gone) return;
    this.gone = true;
    this.onGone();
  }
}
