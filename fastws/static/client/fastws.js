/**
 * fastws in browsers (and Node 22, Deno, Bun): connects, stays connected, subscribes again. One file, no dependency.
 *
 *     import { connect } from "https://live.example.com/client/fastws.js";
 *     const client = connect({ channels: ["news"], onMessage: (message) => console.log(message) });
 *     await client.send("news", "hello", { text: "world" });
 *
 * Every option, event and method is described in fastws.d.ts beside this file. It is one file on purpose: a page
 * can copy it. From top to bottom: the client, one connection, the dialects, pace, addresses, msgpack.
 */

const REQUEST_SECONDS = 10;
const PING_SECONDS = 25;
// A connection that held this long starts the backoff anew: one that flaps does not.
const STABLE_SECONDS = 5;
const REFRESH_AHEAD_SECONDS = 60;
const REFRESH_AGAIN_SECONDS = 5;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const NORMAL = 1000;
const RESTART = 1012;
const UNAUTHORIZED = 4401;

/** What the server refused (its own `code`), or what became of a request: `timeout`, `connection_lost`, `closed`. */
export class FastWSError extends Error {
  constructor(code, message, channel = null) {
    super(message);
    this.name = "FastWSError";
    this.code = code;
    this.channel = channel;
  }
}

/** A client that is connecting already. */
export function connect(options = {}) {
  return new Client(options);
}

export class Client {
  #options;
  #dialect;
  #wishes;
  #listeners = new Map();
  #link = null;
  #opened = deferred();
  #replayed = new Map();
  #status = "connecting";
  #attempt = 0;
  #wasOpen = false;
  #token;
  #isTokenRefused = false;
  #timers = {};
  #online = () => this.#hurry();

  constructor(options) {
    this.#options = { format: "json", dialect: "channels", auth: "subprotocol", reconnect: true, ...options };
    this.#dialect = DIALECTS[this.#options.dialect];
    if (!this.#dialect) throw new FastWSError("bad_request", `no dialect is called ${this.#options.dialect}`);
    if (!CODECS[this.#options.format]) throw new FastWSError("bad_request", "`format` is json or msgpack");
    this.#wishes = this.#dialect.wishes();
    this.#token = options.token ?? null;
    this.connectionId = null;
    for (const [name, listener] of Object.entries(options)) {
      if (/^on[A-Z]/.test(name) && listener) this.on(name[2].toLowerCase() + name.slice(3), listener);
    }
    addressOf(this.#options, this.#dialect, null); // a bad address throws here, where it can be seen
    if (options.channels?.length) this.#wishes.add(options.channels);
    globalThis.addEventListener?.("online", this.#online);
    queueMicrotask(() => this.#open());
  }

  get status() {
    return this.#status;
  }

  /** Resolves when connected for the first time or again; rejects when the client is closed for good. */
  get ready() {
    return this.#opened.promise;
  }

  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  async subscribe(wanted) {
    await this.#ask(this.#wishes.add(wanted), true);
  }

  async unsubscribe(unwanted) {
    await this.#ask(this.#wishes.remove(unwanted), true);
  }

  async send(channel, event, data = null, { excludeSelf = false, key } = {}) {
    const more = { ...(excludeSelf && { exclude_self: true }), ...(key !== undefined && { key }) };
    return this.#send({ channel, event, data, ...more });
  }

  async sendTo(connectionId, event, data = null) {
    return this.#send({ connectionId, event, data });
  }

  async requestMetrics(metricType) {
    const wanted = metricType === undefined ? {} : { metric_type: metricType };
    return (await this.request({ type: "request_metrics", ...wanted })).data;
  }

  /** Milliseconds to the server and back. */
  async ping() {
    const begun = performance.now();
    await this.request({ [this.#dialect.verb]: "ping" });
    return performance.now() - begun;
  }

  async refresh(token) {
    const isOther = token !== this.#token;
    this.#token = token;
    if (this.#status !== "connected" || !isOther) return;
    const reply = await this.request({ [this.#dialect.verb]: "refresh", token });
    this.#watchExpiry(reply.expires);
  }

  /** Send `message` with an id of its own and wait for the reply; waits for the connection first. */
  async request(message) {
    return (await this.#ask([message], false))[0];
  }

  /** Send `message` as it is. Returns whether there was a connection to send it on. */
  post(message) {
    if (this.#status !== "connected") return false;
    this.#link.post(message);
    return true;
  }

  close(code = NORMAL, reason = "") {
    this.#end(new FastWSError("closed", "the client was closed"), { code, reason });
  }

  // --- connecting

  async #open() {
    if (this.#status === "disconnected") return;
    this.#setStatus(this.#wasOpen || this.#attempt ? "reconnecting" : "connecting", { attempt: this.#attempt });
    let link;
    try {
      const token = await this.#findToken();
      if (this.#status === "disconnected") return;
      const [url, protocols] = addressOf(this.#options, this.#dialect, token);
      link = new Link(url, protocols, this.#options, {
        opened: () => this.#dialect.greets || this.#connected(),
        heard: (message, event) => this.#hear(message, event),
        lost: (code, reason) => link === this.#link && this.#lost(code, reason),
        traffic:
          this.#options.onTraffic || this.#listeners.has("traffic") ? (...all) => this.#emit("traffic", ...all) : null,
        failed: (error) => this.#emit("error", error),
        verb: this.#dialect.verb,
      });
    } catch (error) {
      this.#emit("error", asError(error));
      this.#lost(0, "");
      return;
    }
    this.#link = link;
  }

  async #findToken() {
    const { getToken } = this.#options;
    if (!getToken) return this.#token;
    const reason = this.#isTokenRefused ? "refused" : this.#token === null ? "start" : "expiring";
    if (reason === "expiring" && expiryOf(this.#token) * 1000 > Date.now() + 5000) return this.#token;
    this.#token = (await getToken({ reason })) ?? null;
    this.#isTokenRefused = false;
    return this.#token;
  }

  async #connected() {
    const isAgain = this.#wasOpen;
    this.#wasOpen = true;
    this.#timers.stable = setTimeout(() => (this.#attempt = 0), STABLE_SECONDS * 1000);
    const link = this.#link;
    const asked = this.#wishes.all().map((request) => [request, link.request(request)]);
    this.#replayed = new Map(asked.map(([request, reply]) => [JSON.stringify(request), reply]));
    this.#watchExpiry(expiryOf(this.#token));
    this.#setStatus("connected", {});
    this.#opened.resolve(this);
    for (const [request, reply] of asked) {
      try {
        await reply;
      } catch (error) {
        if (link !== this.#link) return;
        this.#regret(request, error);
        this.#emit("error", error);
      }
    }
    if (isAgain) this.#emit("gap", { channel: null, source: "reconnect" });
  }

  #lost(code, reason) {
    this.#clear();
    const { reconnect, getToken, maxReconnectAttempts = Infinity, firstDelay, longestDelay } = this.#options;
    const wasConnected = this.#status === "connected";
    this.connectionId = null;
    this.#link = null;
    if (wasConnected) this.#opened = deferred();
    // A browser shows a refused upgrade as 1006 and hides why: perhaps the token.
    this.#isTokenRefused = code === UNAUTHORIZED || !wasConnected;
    const attempt = this.#attempt++;
    const isFinal = code === NORMAL || (code === UNAUTHORIZED && !getToken) || (code >= 4000 && code !== UNAUTHORIZED);
    if (isFinal || !reconnect || attempt >= maxReconnectAttempts) {
      const why = reason || (attempt ? `${attempt} attempts to reconnect failed` : "the connection ended");
      this.#end(new FastWSError(code === UNAUTHORIZED ? "unauthorized" : "closed", why), { code, reason });
      return;
    }
    const delay = reconnectDelay(attempt, { code, reason, first: firstDelay, longest: longestDelay });
    this.#setStatus("reconnecting", { code, reason, delay, attempt: attempt + 1 });
    this.#timers.reconnect = setTimeout(() => this.#open(), delay);
    this.#timers.isHasty = code !== RESTART;
  }

  /** The network is back: no need to wait any longer, unless a draining server asked for it. */
  #hurry() {
    if (!this.#timers.reconnect || !this.#timers.isHasty) return;
    this.#clear();
    this.#open();
  }

  #end(error, detail) {
    if (this.#status === "disconnected") return;
    this.#clear();
    globalThis.removeEventListener?.("online", this.#online);
    this.#setStatus("disconnected", detail);
    // A page may close with these codes alone.
    this.#link?.close(detail.code >= 3000 ? detail.code : NORMAL, detail.reason);
    this.#link = null;
    this.#opened.reject(error);
    this.#opened = deferred();
    this.#opened.reject(error);
    if (error.code === "unauthorized") this.#emit("error", error);
  }

  #clear() {
    for (const timer of ["reconnect", "stable", "refresh"]) clearTimeout(this.#timers[timer]);
    this.#timers = {};
  }

  // --- tokens

  #watchExpiry(expires) {
    clearTimeout(this.#timers.refresh);
    if (!this.#options.getToken || !Number.isFinite(expires)) return;
    const seconds = expires - Date.now() / 1000;
    const ahead = Math.min(REFRESH_AHEAD_SECONDS, seconds / 4);
    this.#refreshIn(Math.max(seconds - ahead, 0));
  }

  #refreshIn(seconds) {
    const later = () =>
      this.#renew().catch((error) => {
        this.#emit("error", asError(error));
        if (this.#status === "connected") this.#refreshIn(REFRESH_AGAIN_SECONDS);
      });
    this.#timers.refresh = setTimeout(later, Math.min(seconds * 1000, LONGEST_TIMER_MS));
  }

  async #renew() {
    const token = await this.#options.getToken({ reason: "expiring" });
    if (!token || token === this.#token) throw new FastWSError("unauthorized", "getToken gave no new token");
    await this.refresh(token);
  }

  // --- requests and what is heard

  /** The replies to `requests`. `isWish`: what was lost with a connection is asked again on the next one. */
  async #ask(requests, isWish) {
    const seconds = this.#options.requestTimeout ?? REQUEST_SECONDS;
    for (;;) {
      const isWaiting = this.#status !== "connected";
      // While connected it is sent at once: what is asked first is said first.
      if (isWaiting) await (isWish ? this.ready : within(seconds, this.ready));
      const link = this.#link;
      if (link === null) continue;
      const known = (request) => (isWaiting && isWish && this.#replayed.get(JSON.stringify(request))) || null;
      try {
        return await Promise.all(requests.map((request) => known(request) ?? link.request(request)));
      } catch (error) {
        if (isWish && error.code === "connection_lost") continue;
        if (isWish) requests.forEach((request) => this.#regret(request, error));
        throw error;
      }
    }
  }

  /** What the server refused is not asked for again; what it did not answer is, on the next connection. */
  #regret(request, error) {
    if (error.code !== "timeout" && error.code !== "connection_lost") this.#wishes.refused(request);
  }

  async #send(message) {
    if (this.#dialect.verb !== "action") throw new FastWSError("bad_request", "only the channels dialect sends");
    const { sent, failed } = await this.request({ action: "send", ...message });
    return { sent, failed };
  }

  #hear(message, event) {
    if ("data" in message && message.id === undefined) {
      this.#emit("message", message, event);
      return;
    }
    const kind =
      message.type === "subscription" || message.type === "connection"
        ? message.event
        : (message.type ?? message.event);
    const channel = message.channel ?? message.room_id ?? message.workspace_id ?? null;
    if (kind === this.#dialect.greets) {
      this.connectionId = message.connection_id;
      this.#connected();
    } else if (kind === "gap" || kind === "lag") {
      const { dropped } = message;
      this.#emit(kind, kind === "gap" ? { channel, source: "server" } : { channel, dropped });
    } else if (kind === "error") {
      this.#emit("error", new FastWSError(message.code ?? "refused", message.message, channel));
    } else if (message.reason !== undefined && channel !== null) {
      this.#wishes.remove([channel]);
      this.#emit("left", { channel, reason: message.reason });
    }
  }

  #setStatus(status, detail) {
    this.#status = status;
    this.#emit("status", { status, ...detail });
  }

  #emit(name, ...values) {
    const listeners = this.#listeners.get(name);
    if (name === "error" && !listeners?.size) console.warn("fastws:", ...values);
    listeners?.forEach((listener) => {
      try {
        listener(...values);
      } catch (error) {
        // A listener's error is the page's: it goes where uncaught errors go, and the next message still comes.
        queueMicrotask(() => {
          throw error;
        });
      }
    });
  }
}

/** One WebSocket: frames in and out, and the requests that wait for their replies. */
class Link {
  #socket;
  #codec;
  #hooks;
  #seconds;
  #pending = new Map();
  #id = 0;
  #isOver = false;
  #hasHeard = true;
  #pulse;

  constructor(url, protocols, options, hooks) {
    this.#codec = CODECS[options.format];
    this.#hooks = hooks;
    this.#seconds = options.requestTimeout ?? REQUEST_SECONDS;
    this.#socket = new (options.WebSocket ?? WebSocket)(url, protocols);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#begin(options.pingInterval ?? PING_SECONDS);
    this.#socket.onmessage = (event) => this.#receive(event);
    this.#socket.onclose = ({ code, reason }) => this.#over(code, reason);
  }

  post(message) {
    const frame = this.#codec.encode(message);
    this.#hooks.traffic?.("out", message, frame);
    this.#socket.send(frame);
  }

  request(message) {
    const id = ++this.#id;
    const waiting = deferred();
    this.#pending.set(id, waiting);
    if (this.#isOver) waiting.reject(new FastWSError("connection_lost", "the connection has ended"));
    try {
      this.post({ ...message, id });
    } catch (error) {
      waiting.reject(asError(error));
    }
    const reply = within(this.#seconds, waiting.promise).finally(() => this.#pending.delete(id));
    reply.catch(() => {}); // whoever waits for it hears of the error; that nobody does is no error of its own
    return reply;
  }

  close(code = NORMAL, reason = "") {
    this.#over(code, reason);
    this.#socket.close(code, reason);
  }

  #begin(pingSeconds) {
    this.#pulse = setInterval(() => this.#beat(), pingSeconds * 1000);
    this.#hooks.opened();
  }

  /** A page cannot see the server's pings: in a silence it asks itself, and gives up a connection that is mute. */
  #beat() {
    if (!this.#hasHeard) {
      this.request({ [this.#hooks.verb]: "ping" }).catch((error) => {
        if (error.code !== "timeout") return;
        this.#over(1006, "no answer to a ping");
        this.#socket.close();
      });
    }
    this.#hasHeard = false;
  }

  #receive({ data }) {
    this.#hasHeard = true;
    if (this.#isOver) return;
    let message;
    try {
      message = typeof data === "string" ? JSON.parse(data) : this.#codec.decode(data);
      if (message === null || typeof message !== "object") throw new TypeError("it is no object");
    } catch (error) {
      this.#hooks.failed(new FastWSError("invalid_message", `a message cannot be read: ${error.message}`));
      return;
    }
    this.#hooks.traffic?.("in", message, data);
    const waiting = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (!waiting) {
      this.#hooks.heard(message, new Heard(message, data));
    } else if ((message.type ?? message.event) === "error") {
      waiting.reject(new FastWSError(message.code ?? "refused", message.message, message.channel ?? message.room_id));
    } else {
      waiting.resolve(message);
    }
  }

  #over(code, reason) {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#pulse);
    const error = new FastWSError("connection_lost", `the connection ended (${code}${reason && ` ${reason}`})`);
    this.#pending.forEach((waiting) => waiting.reject(error));
    this.#hooks.lost(code, reason);
  }
}

/** A message as its listeners get it: `data` is the text of it, as a WebSocket's own event has it. */
class Heard {
  constructor(message, frame) {
    this.message = message;
    this.frame = frame;
  }

  get data() {
    return typeof this.frame === "string" ? this.frame : JSON.stringify(this.message, inJson);
  }
}

// --- dialects: what a subscription is, and how it is said again after a reconnect

class NameWishes {
  constructor(verb, field) {
    this.verb = verb;
    this.field = field;
    this.names = new Set();
  }

  add(names) {
    return [names].flat().map((name) => (this.names.add(name), this.#say("subscribe", name)));
  }

  remove(names) {
    return [names].flat().map((name) => (this.names.delete(name), this.#say("unsubscribe", name)));
  }

  all() {
    return [...this.names].map((name) => this.#say("subscribe", name));
  }

  refused(request) {
    if (request[this.verb] === "subscribe") this.names.delete(request[this.field]);
  }

  #say(word, name) {
    return { [this.verb]: word, [this.field]: name };
  }
}

/** Event types of a workspace: all, only some, or all but some (`isExcluding`). */
class EventWishes {
  types = new Set();
  isExcluding = true;

  add(types) {
    const wanted = [types].flat();
    if (wanted.includes("*")) this.#set([], true);
    else this.#set(this.isExcluding ? wanted : [...this.types, ...wanted], false);
    return [{ type: "subscribe", event_types: wanted }];
  }

  remove(types) {
    const unwanted = [types].flat();
    if (unwanted.includes("*")) this.#set([], false);
    else if (this.isExcluding) this.#set([...this.types, ...unwanted], true);
    else
      this.#set(
        [...this.types].filter((type) => !unwanted.includes(type)),
        false,
      );
    return [{ type: "unsubscribe", event_types: unwanted }];
  }

  all() {
    if (this.isExcluding && !this.types.size) return [];
    return [{ type: this.isExcluding ? "unsubscribe" : "subscribe", event_types: [...this.types] }];
  }

  refused() {}

  #set(types, isExcluding) {
    this.types = new Set(types);
    this.isExcluding = isExcluding;
  }
}

/** Job ids and statuses: each `subscribe` says anew which; a list of names alone means job ids. */
class JobWishes {
  request = null;

  add(wanted) {
    const { jobIds = [], statuses = [] } =
      typeof wanted === "string" || Array.isArray(wanted) ? { jobIds: [wanted].flat() } : wanted;
    this.request = { type: "subscribe", job_ids: jobIds, statuses };
    return [this.request];
  }

  remove() {
    this.request = null;
    return [{ type: "unsubscribe" }];
  }

  all() {
    return this.request ? [this.request] : [];
  }

  refused(request) {
    if (request === this.request) this.request = null;
  }
}

/** `greets`: the word of the first message, false where there is none. */
const DIALECTS = {
  channels: { path: "", verb: "action", greets: "connection_id", wishes: () => new NameWishes("action", "channel") },
  rooms: { path: "api/v1/ws", verb: "type", greets: "connected", wishes: () => new NameWishes("type", "room_id") },
  workspaces: { path: "ws", verb: "type", greets: "connected", wishes: () => new EventWishes() },
  jobs: { path: "ws", verb: "type", greets: false, wishes: () => new JobWishes() },
};

// --- pace and addresses

/**
 * Milliseconds to wait before attempt number `attempt` (0 is the first): full jitter up to `first`, doubled each
 * time up to `longest`; within the range a restarting server names (1012 "restart; reconnect in 0-6 s").
 */
export function reconnectDelay(
  attempt,
  { code, reason = "", first = 500, longest = 30000, random = Math.random } = {},
) {
  const range = code === RESTART ? /(\d+)-(\d+) s/.exec(reason) : null;
  if (range) return (Number(range[1]) + random() * (range[2] - range[1])) * 1000;
  // 1013: too slow, or full; 1008: too many messages. To come back at once would be the same again.
  const least = code === 1013 || code === 1008 ? 1000 : 0;
  return least + random() * Math.min(longest, first * 2 ** Math.min(attempt, 30));
}

/** The URL and subprotocols. Without `url`: the server that served this file. A URL without a path gets the dialect's. */
function addressOf({ url, format, auth, dialect, workspaceId }, { path }, token) {
  const base = new URL(url ?? "..", url === undefined ? import.meta.url : globalThis.location?.href);
  if (!/^(ws|http)s?:$/.test(base.protocol)) throw new FastWSError("bad_request", `no address of a server: ${base}`);
  base.protocol = base.protocol.replace("http", "ws");
  const isOwnPath = url !== undefined && base.pathname !== "/";
  if (!isOwnPath) base.pathname += path;
  base.hash = "";
  // At /ws a token would mean workspaces.
  const shown = dialect === "jobs" && !isOwnPath ? null : token;
  if (workspaceId !== undefined && workspaceId !== null) base.searchParams.set("workspace_id", workspaceId);
  if (auth === "query") {
    if (shown) base.searchParams.set("token", shown);
    if (format !== "json") base.searchParams.set("format", format);
    return [base.href, []];
  }
  return [base.href, [`fastws.${format}`, ...(shown ? [`fastws.token.${shown}`] : [])]];
}

/** `exp` of a JWT in seconds since the epoch; NaN where it cannot be told. */
export function expiryOf(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")));
    return typeof claims.exp === "number" ? claims.exp : NaN;
  } catch {
    return NaN; // not a JWT: the server decides, and its 4401 is the notice
  }
}

function deferred() {
  const it = {};
  it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }));
  it.promise.catch(() => {}); // it need not be waited for by anybody
  return it;
}

function within(seconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new FastWSError("timeout", `no answer within ${seconds} s`)), seconds * 1000);
  });
  const first = Promise.race([promise, late]).finally(() => clearTimeout(timer));
  first.catch(() => {});
  return first;
}

function asError(error) {
  return error instanceof FastWSError ? error : new FastWSError("internal", error?.message ?? String(error));
}

/** Bytes are base64 text in JSON, as everywhere in fastws; a BigInt is its digits (as text in browsers before 2023). */
function inJson(_, value) {
  if (typeof value === "bigint") return JSON.rawJSON ? JSON.rawJSON(String(value)) : String(value);
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (!(value instanceof Uint8Array)) return value;
  let text = "";
  for (const byte of value) text += String.fromCharCode(byte);
  return btoa(text);
}

const CODECS = {
  json: {
    encode: (message) => JSON.stringify(message, inJson),
    decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes)),
  },
  msgpack: { encode, decode },
};

// --- msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md)

const TIMESTAMP = -1;
const DEEPEST = 500;
const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { fatal: true });

/** An extension other than the timestamp, which is a Date. */
export class Ext {
  constructor(type, data) {
    this.type = type;
    this.data = data;
  }
}

/** `value` as msgpack. BigInt is a 64-bit integer, Uint8Array bin, Date a timestamp; throws TypeError or RangeError. */
export function encode(value) {
  const out = new Writer();
  write(out, value, 0);
  return out.bytes.slice(0, out.length);
}

/** The value in `bytes`: integers past 2^53 are BigInts, bin is a Uint8Array, a timestamp a Date (milliseconds). */
export function decode(bytes) {
  const view = ArrayBuffer.isView(bytes)
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : new Uint8Array(bytes);
  const reader = new Reader(view);
  const value = reader.value(0);
  if (reader.at !== view.length) throw new RangeError("bytes after the end of the message");
  return value;
}

class Writer {
  bytes = new Uint8Array(256);
  view = new DataView(this.bytes.buffer);
  length = 0;

  /** Room for `size` bytes; returns where it begins. */
  take(size) {
    const at = this.length;
    this.length += size;
    if (this.length > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }

  /** A type byte, and `value` after it by the DataView setter called `kind` of `size` bytes. */
  put(type, kind, size, value) {
    const at = this.take(1 + size);
    this.bytes[at] = type;
    if (kind) this.view[kind](at + 1, value);
  }

  raw(bytes) {
    const at = this.take(bytes.length); // first: it may put another array in the place of `bytes`
    this.bytes.set(bytes, at);
  }
}

/** A length in the smallest of the forms `fixed | length` (up to `most`), 8, 16 and 32 bits (null: there is none). */
function writeLength(out, length, fixed, most, type8, type16, type32) {
  if (length <= most) out.put(fixed | length, null, 0);
  else if (type8 !== null && length < 0x100) out.put(type8, "setUint8", 1, length);
  else if (length < 0x10000) out.put(type16, "setUint16", 2, length);
  else out.put(type32, "setUint32", 4, length);
}

function write(out, value, depth) {
  if (depth > DEEPEST) throw new RangeError(`nested deeper than ${DEEPEST} levels`);
  if (typeof value?.toJSON === "function" && !(value instanceof Date)) value = value.toJSON();
  switch (typeof value) {
    case "string": {
      const bytes = utf8.encode(value);
      writeLength(out, bytes.length, 0xa0, 31, 0xd9, 0xda, 0xdb);
      return out.raw(bytes);
    }
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? writeInteger(out, value)
        : out.put(0xcb, "setFloat64", 8, value);
    case "bigint":
      return writeBigInt(out, value);
    case "boolean":
      return out.put(value ? 0xc3 : 0xc2, null, 0);
    case "object":
      return value === null ? out.put(0xc0, null, 0) : writeObject(out, value, depth);
    case "undefined":
      return out.put(0xc0, null, 0);
    default:
      throw new TypeError(`a ${typeof value} cannot be said in msgpack`);
  }
}

function writeInteger(out, value) {
  if (value >= -32 && value < 0x80) out.put(value & 0xff, null, 0);
  else if (value >= 0x100000000 || value < -0x80000000)
    out.put(value < 0 ? 0xd3 : 0xcf, "setBigInt64", 8, BigInt(value));
  else if (value >= 0x10000) out.put(0xce, "setUint32", 4, value);
  else if (value >= 0x100) out.put(0xcd, "setUint16", 2, value);
  else if (value >= 0) out.put(0xcc, "setUint8", 1, value);
  else if (value >= -0x80) out.put(0xd0, "setInt8", 1, value);
  else if (value >= -0x8000) out.put(0xd1, "setInt16", 2, value);
  else out.put(0xd2, "setInt32", 4, value);
}

function writeBigInt(out, value) {
  if (BigInt.asUintN(64, value) === value) out.put(0xcf, "setBigUint64", 8, value);
  else if (BigInt.asIntN(64, value) === value) out.put(0xd3, "setBigInt64", 8, value);
  else throw new RangeError("an integer of more than 64 bits");
}

function writeObject(out, value, depth) {
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (value instanceof Date) return writeDate(out, value);
  if (value instanceof Ext) return writeExt(out, value);
  if (value instanceof Uint8Array) {
    writeLength(out, value.length, 0, -1, 0xc4, 0xc5, 0xc6);
    return out.raw(value);
  }
  if (Array.isArray(value)) {
    writeLength(out, value.length, 0x90, 15, null, 0xdc, 0xdd);
    return value.forEach((item) => write(out, item, depth + 1));
  }
  const entries = (value instanceof Map ? [...value] : Object.entries(value)).filter(([, item]) => item !== undefined);
  writeLength(out, entries.length, 0x80, 15, null, 0xde, 0xdf);
  for (const [key, item] of entries) {
    write(out, String(key), depth + 1);
    write(out, item, depth + 1);
  }
}

function writeExt(out, { type, data }) {
  const fixed = [1, 2, 4, 8, 16].indexOf(data.length);
  if (fixed >= 0) out.put(0xd4 + fixed, null, 0);
  else writeLength(out, data.length, 0, -1, 0xc7, 0xc8, 0xc9);
  out.put(type & 0xff, null, 0);
  out.raw(data);
}

/** The 96-bit form holds every Date, before 1970 too. */
function writeDate(out, date) {
  const milliseconds = date.getTime();
  if (Number.isNaN(milliseconds)) throw new RangeError("an invalid Date");
  const seconds = Math.floor(milliseconds / 1000);
  const bytes = new DataView(new ArrayBuffer(12));
  bytes.setUint32(0, (milliseconds - seconds * 1000) * 1e6);
  bytes.setBigInt64(4, BigInt(seconds));
  writeExt(out, new Ext(TIMESTAMP, new Uint8Array(bytes.buffer)));
}

class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  value(depth) {
    if (depth > DEEPEST) throw new RangeError(`nested deeper than ${DEEPEST} levels`);
    const type = this.#number("getUint8", 1);
    if (type < 0x80) return type;
    if (type >= 0xe0) return type - 0x100;
    if (type < 0x90) return this.#map(type & 0x0f, depth);
    if (type < 0xa0) return this.#array(type & 0x0f, depth);
    if (type < 0xc0) return this.#text(type & 0x1f);
    return this.#typed(type, depth);
  }

  #typed(type, depth) {
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#length(type - 0xc4)).slice();
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#ext(this.#length(type - 0xc7));
      case 0xca:
        return this.#number("getFloat32", 4);
      case 0xcb:
        return this.#number("getFloat64", 8);
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#length(type - 0xcc);
      case 0xcf:
        return safe(this.#number("getBigUint64", 8));
      case 0xd0:
        return this.#number("getInt8", 1);
      case 0xd1:
        return this.#number("getInt16", 2);
      case 0xd2:
        return this.#number("getInt32", 4);
      case 0xd3:
        return safe(this.#number("getBigInt64", 8));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#ext(1 << (type - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#length(type - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#length(type - 0xdb), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#length(type - 0xdd), depth);
      default:
        throw new RangeError(`no msgpack: byte ${type}`);
    }
  }

  /** A number by the DataView getter of that name. */
  #number(getter, size) {
    const at = this.at;
    this.at += size;
    return this.view[getter](at); // throws RangeError past the end
  }

  #length(kind) {
    return kind === 0
      ? this.#number("getUint8", 1)
      : kind === 1
        ? this.#number("getUint16", 2)
        : this.#number("getUint32", 4);
  }

  #take(size) {
    if (this.at + size > this.bytes.length) throw new RangeError("the message ends too early");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  #text(size) {
    return text.decode(this.#take(size));
  }

  #array(size, depth) {
    // Not `new Array(size)`: five bytes could ask for gigabytes.
    const items = [];
    for (let position = 0; position < size; position++) items.push(this.value(depth + 1));
    return items;
  }

  #map(size, depth) {
    const result = {};
    for (let position = 0; position < size; position++) {
      const key = String(this.value(depth + 1));
      const value = this.value(depth + 1);
      if (key === "__proto__")
        Object.defineProperty(result, key, { value, enumerable: true, configurable: true, writable: true });
      else result[key] = value;
    }
    return result;
  }

  #ext(size) {
    const type = this.#number("getInt8", 1);
    const data = this.#take(size).slice();
    return type === TIMESTAMP ? dateOf(data) : new Ext(type, data);
  }
}

function safe(integer) {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}

function dateOf(data) {
  const view = new DataView(data.buffer);
  if (data.length === 4) return new Date(view.getUint32(0) * 1000);
  if (data.length === 12) return new Date(Number(view.getBigInt64(4)) * 1000 + Math.floor(view.getUint32(0) / 1e6));
  if (data.length !== 8) throw new RangeError("a timestamp of an unknown length");
  const both = view.getBigUint64(0);
  return new Date(Number(both & 0x3ffffffffn) * 1000 + Math.floor(Number(both >> 34n) / 1e6));
}
