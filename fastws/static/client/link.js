/** One WebSocket, from the attempt to its end. */

import { NORMAL } from "./backoff.js";
import { inJson } from "./codecs.js";
import { FastWSError, asError } from "./errors.js";
import { deferred, within } from "./promises.js";

// 128 kbit/s, the slowest network that the timeouts allow for.
const SLOW_BYTES_PER_SECOND = 16_000;
const MOST_REASON_BYTES = 123;

/**
 * One WebSocket from the attempt to its end, and the requests that wait for replies. Once it has ended or was
 * abandoned, it calls no hook any more, whatever the socket still does.
 */
export class Link {
  isOver = false;
  url = null;
  protocols = null;
  token = null;
  #options;
  #dialect;
  #hooks;
  #codec;
  #socket = null;
  #isOpen = false;
  #isGreeted = false;
  #pending = new Map();
  #givenUp = new Map(); // requests that timed out, by id; their callers do not get the late replies
  #id = 0;
  #deadline;
  #dueAt;
  #pulse;
  #hasHeard = true;
  #largest = 0;

  constructor(options, dialect, hooks) {
    this.#options = options;
    this.#dialect = dialect;
    this.#hooks = hooks;
  }

  get hasSocket() {
    return this.#socket !== null;
  }

  /** `token` is the one that `url` or `protocols` show. */
  open(url, protocols, { codec, token }) {
    this.token = token;
    this.#codec = codec;
    const socket = new (this.#options.WebSocket ?? WebSocket)(url, protocols);
    Object.assign(this, { url, protocols });
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#begin();
    socket.onmessage = (event) => this.#receive(event);
    socket.onclose = ({ code, reason }) => this.#over(code, reason, !this.#isOpen);
    const { connectTimeout } = this.#options;
    const late = () => this.#fail(`not connected within ${connectTimeout} s`);
    this.#deadline = setTimeout(late, connectTimeout * 1000);
  }

  post(message) {
    const frame = this.#codec.encode(message);
    this.#hooks.traffic("out", message, frame);
    this.#socket.send(frame);
  }

  /** Sends `message`, with the keys of `more`, and returns the reply. */
  request(message, more = {}) {
    const id = ++this.#id;
    const waiting = deferred();
    this.#pending.set(id, { ...waiting, message });
    if (this.isOver) waiting.reject(new FastWSError("connection_lost", "the connection has ended"));
    else {
      try {
        this.post({ ...message, ...more, id });
      } catch (error) {
        waiting.reject(new FastWSError("bad_request", `the message cannot be encoded: ${error.message}`));
      }
    }
    const reply = within(this.#options.requestTimeout, waiting.promise).finally(() => this.#pending.delete(id));
    reply.catch((error) => error.code === "timeout" && this.#givenUp.set(id, message));
    return reply;
  }

  /** Closes the connection without calling any hook. */
  abandon(code = NORMAL, reason = "") {
    if (this.isOver) return;
    this.#stop(code, reason);
    // Browsers allow only 1000 and codes from 3000.
    this.#closeSocket(code >= 3000 ? code : NORMAL, clipped(reason));
  }

  /** Tests the connection now: after a network change it may be dead without any sign. */
  probe() {
    const { requestTimeout, pongTimeout } = this.#options;
    // The reply may come after a message as large as the largest so far.
    this.#ping(Math.min(requestTimeout + this.#largest / SLOW_BYTES_PER_SECOND, pongTimeout));
  }

  #begin() {
    this.#isOpen = true;
    if (!this.#dialect.isGreeting) this.#greeted(null);
  }

  #greeted(greeting) {
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    this.#isGreeted = true;
    this.#pulse = setInterval(() => this.#beat(), this.#options.pingInterval * 1000);
    this.#hooks.greeted(greeting);
  }

  /** A page cannot see the server's pings, so the client sends its own after a silence. */
  #beat() {
    if (!this.#hasHeard && this.#deadline === undefined) this.#ping(this.#options.pongTimeout);
    this.#hasHeard = false;
  }

  /** Sends a ping and gives the connection up if nothing arrives within `seconds`. */
  #ping(seconds) {
    this.request({ [this.#dialect.verb]: "ping" }).catch(() => {}); // the deadline below decides
    const dueAt = performance.now() + seconds * 1000;
    if (this.#deadline !== undefined && this.#dueAt <= dueAt) return;
    clearTimeout(this.#deadline);
    this.#dueAt = dueAt;
    const wait = (unsent) => {
      this.#deadline = setTimeout(() => {
        const left = this.#socket.bufferedAmount;
        // The peer is still receiving data that was written before the ping.
        if (left > 0 && left < unsent) wait(left);
        else this.#fail("no answer to a ping");
      }, seconds * 1000);
    };
    wait(this.#socket.bufferedAmount);
  }

  #receive({ data }) {
    this.#hasHeard = true;
    this.#largest = Math.max(this.#largest, data.length ?? data.byteLength);
    if (this.#isGreeted) {
      clearTimeout(this.#deadline);
      this.#deadline = undefined;
    }
    let message;
    try {
      message = typeof data === "string" ? JSON.parse(data) : this.#codec.decode(data);
      if (message === null || typeof message !== "object") throw new TypeError("it is not an object");
    } catch (error) {
      this.#hooks.failed(new FastWSError("invalid_message", `a message cannot be read: ${error.message}`));
      return;
    }
    this.#hooks.traffic("in", message, data);
    if (!this.isOver) this.#sort(message, data);
  }

  #sort(message, frame) {
    const { id } = message;
    const waiting = this.#pending.get(id);
    const isError = message[this.#dialect.word] === "error";
    const request = waiting?.message ?? this.#givenUp.get(id);
    this.#givenUp.delete(id);
    if (request && !isError) this.#hooks.answered(request, message);
    if (waiting && isError) {
      const channel = message.channel ?? message.room_id ?? null;
      waiting.reject(new FastWSError(message.code ?? "refused", message.message, channel));
    } else if (waiting) {
      waiting.resolve(message);
    } else if (!this.#isGreeted && this.#dialect.isGreeting?.(message)) {
      this.#greeted(message);
    } else if (!request) {
      this.#hooks.heard(message, new Heard(message, frame));
    }
  }

  #fail(reason) {
    const socket = this.#socket;
    this.#over(1006, reason, false);
    socket.close();
  }

  #over(code, reason, isRefusal) {
    if (this.isOver) return;
    this.#stop(code, reason);
    this.#hooks.lost(code, reason, isRefusal);
  }

  #stop(code, reason) {
    this.isOver = true;
    clearInterval(this.#pulse);
    clearTimeout(this.#deadline);
    if (this.#socket) this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    const error = new FastWSError("connection_lost", `the connection ended (${code}${reason && ` ${reason}`})`);
    this.#pending.forEach((waiting) => waiting.reject(error));
  }

  #closeSocket(code, reason) {
    this.#socket?.close(code, reason);
  }
}

/** Cuts `reason` to what fits into a close frame. */
function clipped(reason) {
  let text = String(reason);
  while (new TextEncoder().encode(text).length > MOST_REASON_BYTES) text = text.slice(0, -1);
  return text;
}

/** A message as listeners get it. Like in a WebSocket's own event, `data` is its text. */
class Heard {
  constructor(message, frame) {
    this.message = message;
    this.frame = frame;
  }

  get data() {
    return typeof this.frame === "string" ? this.frame : JSON.stringify(this.message, inJson);
  }
}
