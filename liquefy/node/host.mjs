/* A host for JavaScript: the child process that runs users' code. Start: `node host.mjs FOLDER`, with one end of a socket
 * pair as descriptor 3. It speaks `liquefy/hosting.py`: frames of a 4-byte big-endian length and a MessagePack array.
 *
 * A host keeps no promise and needs no farewell: what it had in hand is handled again elsewhere. So it ends at once when
 * its worker closes the connection; and when the worker dies while users' code does not let it see that, by the signal
 * that `liquefy/launch.py` asks for. */
import { realpathSync } from "node:fs";
import net from "node:net";
import { inspect } from "node:util";

import { BadFrame, Runner } from "./handling.mjs";
import { load, LoadError, provide } from "./loading.mjs";
import { pack, PyDict, unpack } from "./values.mjs";

const HOST_FD = 3;
const FRAME_BYTES_MAX = 256 * 1024 * 1024;

/** Results that take more are sent in several frames. */
const FRAME_SPLIT_BYTES = 32 * 1024 * 1024;

/** Exit code when the worker asked for what cannot be. */
const EXIT_PROTOCOL = 70;

/** One end of the conversation. `folder` is where the code is. */
class Host {
  #connection;
  #folder;
  #runner;
  #frames = new FrameReader();
  #loading = null;
  #waiting = [];

  constructor(connection, folder) {
    this.#connection = connection;
    this.#folder = folder;
    this.#runner = new Runner((done) => this.#sendResults(done), (piece) => this.#connection.write(frame(piece)), folder);
  }

  serve() {
    this.#connection.on("data", (data) => this.#guarded(() => this.#arrived(data)));
    for (const event of ["end", "error", "close"]) this.#connection.on(event, () => end(0));
    for (const event of ["uncaughtException", "unhandledRejection"])
      process.on(event, (error) => {
        if (!this.#runner.blame(error)) console.error(`nobody caught this: ${inspect(error)}`);
      });
  }

  #guarded(work) {
    try {
      work();
    } catch (error) {
      if (error instanceof BadFrame) {
        console.error(`the host was sent what it cannot do: ${error.message}`);
        end(EXIT_PROTOCOL);
      }
      console.error(error);
      end(1);
    }
  }

  #arrived(data) {
    this.#waiting.push(...this.#frames.feed(data));
    this.#goOn();
  }

  /** Frames are taken in order: what comes while code is being imported waits for it. */
  #goOn() {
    while (!this.#loading && this.#waiting.length) this.#take(unpack(this.#waiting.shift()));
  }

  #take([tag, ...parts]) {
    if (tag === "run") this.#runner.run(parts[0]);
    else if (tag === "forget") this.#runner.forget(parts[0], parts[1] ?? []);
    else if (tag === "gone") this.#runner.gone(parts[0]);
    else if (tag === "load") this.#load(...parts);
    else throw new BadFrame(`a message ${tag}`);
  }

  #load(graph, folder, only) {
    this.#loading = this.#loaded(graph, folder, only).then((answer) => {
      this.#loading = null;
      this.#connection.write(frame(answer));
      this.#guarded(() => this.#goOn());
    });
  }

  async #loaded(graph, folder, only) {
    try {
      if (realpathSync(folder) !== this.#folder)
        throw new LoadError(`this host has the code of ${this.#folder}, not of ${folder}`);
      this.#runner.add(graph.name, await load(graph, this.#folder, only));
      return ["loaded", graph.name, graph.version, only];
    } catch (error) {
      if (!(error instanceof LoadError)) this.#guarded(() => { throw error; }); // prettier-ignore
      return ["refused", graph.name, graph.version, error.message, error.trace];
    }
  }

  #sendResults(results) {
    const done = results.map(([ticket, emitted, sets, ...rest]) => [ticket, emitted, new PyDict(sets), ...rest]);
    const data = frame(["ran", done]);
    if (data.length > FRAME_SPLIT_BYTES && results.length > 1) {
      const half = results.length >> 1;
      this.#sendResults(results.slice(0, half));
      this.#sendResults(results.slice(half));
    } else {
      this.#connection.write(data);
    }
  }
}

/** Cuts a byte stream into frames. Throws BadFrame on a length beyond FRAME_BYTES_MAX. */
class FrameReader {
  #parts = [];
  #size = 0;

  /** All frames that are complete with `data`. */
  feed(data) {
    this.#parts.push(data);
    this.#size += data.length;
    const frames = [];
    for (let size = this.#next(); size >= 0 && this.#size >= size + 4; size = this.#next()) {
      const all = this.#joined();
      frames.push(all.subarray(4, 4 + size));
      this.#parts = [all.subarray(4 + size)];
      this.#size -= 4 + size;
    }
    return frames;
  }

  /** The length of the frame that is being read, -1 if that is not known yet. */
  #next() {
    if (this.#size < 4) return -1;
    if (this.#parts[0].length < 4) this.#joined();
    const size = this.#parts[0].readUInt32BE();
    if (size > FRAME_BYTES_MAX) throw new BadFrame(`a frame of ${size} bytes (limit ${FRAME_BYTES_MAX})`);
    return size;
  }

  #joined() {
    if (this.#parts.length > 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0];
  }
}

function frame(message) {
  const data = pack(message);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  return Buffer.concat([length, data]);
}

const reallyExit = process.exit.bind(process);

/** At once: nothing that users' code left behind holds a host up. */
function end(code) {
  process.removeAllListeners("exit");
  reallyExit(code);
}

const folder = realpathSync(process.argv[2]);
process.argv = [process.argv[0], folder];
process.chdir(folder);
provide();
new Host(new net.Socket({ fd: HOST_FD, readable: true, writable: true }), folder).serve();
