/**
 * fastws in browsers (and Node 22, Deno, Bun): connects, stays connected, subscribes again. One file, no dependency.
 *
 *     import { connect } from "https://live.example.com/client/fastws.js";
 *     const client = connect({ channels: ["news"], onMessage: (message) => console.log(message) });
 *     await client.send("news", "hello", { text: "world" });
 *
 * Every option, event and method is described in fastws.d.ts beside this file.
 */

const NORMAL = 1000;
const RESTART = 1012;
const UNAUTHORIZED = 4401;
const DEFAULTS = {
  format: "json",
  dialect: "channels",
  auth: "subprotocol",
  reconnect: true,
  maxReconnectAttempts: Infinity,
  connectTimeout: 10,
  requestTimeout: 10,
  pingInterval: 25,
  // A browser shows a message when all of it has arrived: 1 MiB takes 66 s at 128 kbit/s.
  pongTimeout: 90,
};

/** An error that the server reports, with its `code`, or one of the client: `timeout`, `connection_lost`, `closed`. */
export class FastWSError extends Error {
  constructor(code, message, channel = null) {
    super(message);
    this.name = "FastWSError";
    this.code = code;
    this.channel = channel;
  }
}

/** Creates a client, which starts to connect at once. */
export function connect(options = {}) {
  return new Client(options);
}

export class Client {
  #dialect;
  #options;
  #subscriptions;
  #connection;
  #listeners = new Map();

  constructor(options) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = { ...DEFAULTS, ...Object.fromEntries(given) };
    this.#dialect = DIALECTS[this.#options.dialect];
    if (!this.#dialect) throw new FastWSError("bad_request", `unknown dialect: ${this.#options.dialect}`);
    if (!CODECS[this.#options.format]) throw new FastWSError("bad_request", "`format` must be json or msgpack");
    for (const [name, listener] of given) {
      if (/^on[A-Z]/.test(name) && listener) this.on(name[2].toLowerCase() + name.slice(3), listener);
    }
    addressOf(this.#options, this.#dialect, null); // throws here, where the caller sees it, if the URL is invalid
    this.#subscriptions = new Subscriptions(this.#dialect.filter(), (error) => this.#emit("error", error));
    if (this.#options.channels?.length) this.#subscriptions.add(this.#options.channels).catch(() => {});
    this.#connection = new Connection(this.#options, this.#dialect, {
      heard: (message, event) => this.#hear(message, event),
      greeted: (link) => this.#subscriptions.connected(link),
      lost: () => this.#subscriptions.lost(),
      ended: (error) => this.#subscriptions.ended(error),
      status: (change) => this.#emit("status", change),
      gap: () => this.#emit("gap", { channel: null, source: "reconnect" }),
      client: this,
      error: (error) => this.#emit("error", error),
      traffic: (...all) => this.#emit("traffic", ...all),
    });
  }

  get status() {
    return this.#connection.status;
  }

  get connectionId() {
    return this.#connection.id;
  }

  /** Resolves when connected for the first time or again; rejects when the client is closed for good. */
  get ready() {
    return this.#connection.ready;
  }

  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  async subscribe(wanted) {
    await this.#subscriptions.add(wanted);
  }

  async unsubscribe(unwanted) {
    await this.#subscriptions.remove(unwanted);
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
    await this.#connection.refresh(token);
  }

  /** Sends `message` with an id and returns the reply. While not connected, waits for the connection first. */
  async request(message) {
    // While connected the request is written before this call returns, so that requests keep their order.
    while (this.status !== "connected") await within(this.#options.requestTimeout, this.ready);
    return this.#connection.link.request(message);
  }

  /** Sends `message` as it is. Returns whether there was a connection to send it on. */
  post(message) {
    if (this.status !== "connected") return false;
    this.#connection.link.post(message);
    return true;
  }

  close(code = NORMAL, reason = "") {
    this.#connection.close(code, reason);
  }

  async #send(message) {
    if (this.#dialect.verb !== "action") throw new FastWSError("bad_request", "only the channels dialect can send");
    const { sent, failed } = await this.request({ action: "send", ...message });
    return { sent, failed };
  }

  /** Sorts out the notices of the server; everything else is a message. */
  #hear(message, event) {
    const { word, leftChannel } = this.#dialect;
    const kind = "data" in message ? null : message[word];
    const channel = message.channel ?? message.room_id ?? message.workspace_id ?? null;
    const left = kind === null ? null : leftChannel(message);
    if (left !== null) {
      this.#subscriptions.left(left);
      this.#emit("left", { channel: left, reason: message.reason });
    } else if (kind === "gap") {
      this.#emit("gap", { channel, source: "server" });
    } else if (kind === "lag") {
      this.#emit("lag", { channel, dropped: message.dropped });
    } else if (kind === "error") {
      this.#emit("error", new FastWSError(message.code ?? "refused", message.message, channel));
    } else {
      this.#emit("message", message, event);
    }
  }

  #emit(name, ...values) {
    const listeners = this.#listeners.get(name);
    if (name === "error" && !listeners?.size) console.warn("fastws:", ...values);
    listeners?.forEach((listener) => {
      try {
        listener(...values);
      } catch (error) {
        // An error in a listener is reported as the page's own uncaught error, and the next message still arrives.
        queueMicrotask(() => {
          throw error;
        });
      }
    });
  }
}

// --- the connection that is made again when it is lost

// A connection that lasted this long resets the backoff.
const STABLE_SECONDS = 5;

/** At most one link at any time, from its token to its end. `hooks` hear of everything that happens on it. */
class Connection {
  status = "connecting";
  id = null;
  link = null;
  #options;
  #dialect;
  #hooks;
  #tokens;
  #opened = deferred();
  #attempt = 0;
  #wasOpen = false;
  #timers = {};
  #lastCode = null;
  #online = () => this.#hurry();
  #visible = () => globalThis.document.visibilityState === "visible" && this.#probe();

  constructor(options, dialect, hooks) {
    this.#options = options;
    this.#dialect = dialect;
    this.#hooks = hooks;
    this.#tokens = new Tokens(options);
    globalThis.addEventListener?.("online", this.#online);
    globalThis.document?.addEventListener?.("visibilitychange", this.#visible);
    queueMicrotask(() => this.#open());
  }

  get ready() {
    return this.#opened.promise;
  }

  async refresh(token) {
    const isOther = token !== this.#tokens.token;
    this.#tokens.token = token;
    // A link that is still being made is refreshed when it is there.
    if (this.status === "connected" && isOther) await this.#refresh();
  }

  close(code, reason) {
    this.#end(new FastWSError("closed", "the client was closed"), { code, reason });
  }

  async #open() {
    if (this.status === "disconnected") return;
    this.#clear();
    const link = new Link(this.#options, this.#dialect, {
      heard: this.#hooks.heard,
      greeted: (greeting) => this.#connected(greeting),
      lost: (code, reason, isRefusal) => this.#lost(code, reason, isRefusal),
      traffic: this.#hooks.traffic,
      failed: this.#hooks.error,
    });
    this.link = link;
    this.#setStatus(this.#wasOpen || this.#attempt ? "reconnecting" : "connecting", { attempt: this.#attempt });
    try {
      const token = await this.#tokens.current();
      if (link.isOver) return;
      link.open(...addressOf(this.#options, this.#dialect, token), token);
    } catch (error) {
      if (link.isOver) return;
      link.abandon();
      this.#hooks.error(asError(error));
      this.#lost(0, "", true);
    }
  }

  #connected(greeting) {
    const { link } = this;
    const isAgain = this.#wasOpen;
    this.#wasOpen = true;
    this.id = greeting?.connection_id ?? null;
    this.#timers.stable = setTimeout(() => (this.#attempt = 0), STABLE_SECONDS * 1000);
    const subscribed = this.#hooks.greeted(link);
    if (link.token === this.#tokens.token) this.#watchExpiry(expiryOf(link.token));
    else this.#refresh().catch((error) => link.isOver || this.#hooks.error(error));
    this.#setStatus("connected", {});
    if (link.isOver) return; // a listener has closed the client
    this.#opened.resolve(this.#hooks.client);
    if (isAgain) subscribed.then(() => link.isOver || this.#hooks.gap());
  }

  /** The link has ended by itself: plan the next one, or give up. */
  #lost(code, reason, isRefusal) {
    this.#clear();
    const { reconnect, getToken, maxReconnectAttempts, firstDelay, longestDelay } = this.#options;
    this.#detach();
    // A browser reports a refused upgrade as 1006 and hides the reason, which may be the token.
    this.#tokens.isRefused = code === UNAUTHORIZED || isRefusal;
    this.#lastCode = code;
    const attempt = this.#attempt++;
    const isFinal = code === NORMAL || (code === UNAUTHORIZED && !getToken) || (code >= 4000 && code !== UNAUTHORIZED);
    if (isFinal || !reconnect || attempt >= maxReconnectAttempts) {
      const why = reason || (attempt ? `${attempt} attempts to reconnect failed` : "the connection ended");
      this.#end(new FastWSError(code === UNAUTHORIZED ? "unauthorized" : "closed", why), { code, reason });
      return;
    }
    const delay = reconnectDelay(attempt, { code, reason, first: firstDelay, longest: longestDelay });
    this.#timers.reconnect = setTimeout(() => this.#open(), delay);
    this.#setStatus("reconnecting", { code, reason, delay, attempt: attempt + 1 });
  }

  #detach() {
    const wasConnected = this.status === "connected";
    this.id = null;
    this.link = null;
    if (wasConnected) this.#opened = deferred();
    this.#hooks.lost();
  }

  /** The network is back: what was begun or planned on the old one is not worth waiting for. */
  #hurry() {
    if (this.status === "connected") {
      this.#probe();
    } else if (this.link?.hasSocket) {
      this.link.abandon();
      this.#open();
    } else if (this.#timers.reconnect && !SPREAD_CODES.has(this.#lastCode)) {
      this.#open();
    }
  }

  #probe() {
    if (this.status === "connected") this.link.probe();
  }

  #end(error, detail) {
    if (this.status === "disconnected") return;
    this.#clear();
    globalThis.removeEventListener?.("online", this.#online);
    globalThis.document?.removeEventListener?.("visibilitychange", this.#visible);
    this.link?.abandon(detail.code, detail.reason);
    this.#detach();
    this.#hooks.ended(error);
    this.#opened.reject(error);
    this.#opened = deferred();
    this.#opened.reject(error);
    this.#setStatus("disconnected", detail);
    if (error.code === "unauthorized") this.#hooks.error(error);
  }

  #clear() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
  }

  #setStatus(status, detail) {
    this.status = status;
    this.#hooks.status({ status, ...detail });
  }

  // --- its token

  async #refresh() {
    const { link } = this;
    const { token } = this.#tokens;
    const reply = await link.request({ [this.#dialect.verb]: "refresh", token });
    link.token = token;
    if (!link.isOver) this.#watchExpiry(reply.expires);
  }

  #watchExpiry(expires) {
    clearTimeout(this.#timers.refresh);
    if (this.#options.getToken && Number.isFinite(expires)) this.#renewIn(secondsToRefresh(expires));
  }

  #renewIn(seconds) {
    const { link } = this;
    const renew = async () => {
      try {
        const token = await this.#tokens.ask("expiring");
        if (link.isOver) return;
        if (!token || token === link.token) throw new FastWSError("unauthorized", "getToken returned no new token");
        await this.#refresh();
      } catch (error) {
        if (link.isOver) return;
        this.#hooks.error(asError(error));
        this.#renewIn(RENEW_AGAIN_SECONDS);
      }
    };
    this.#timers.refresh = setTimeout(renew, Math.min(seconds * 1000, LONGEST_TIMER_MS));
  }
}

// --- one WebSocket

// The slowest link that is waited for: 128 kbit/s.
const SLOW_BYTES_PER_SECOND = 16_000;
const MOST_REASON_BYTES = 123;

/**
 * One WebSocket from its attempt to its end, and the requests that wait for their replies on it. Once it is over,
 * or abandoned, no hook is called any more, whatever the socket still does.
 */
class Link {
  isOver = false;
  token = null;
  #options;
  #dialect;
  #hooks;
  #codec;
  #socket = null;
  #isOpen = false;
  #isGreeted = false;
  #pending = new Map();
  #givenUp = new Set(); // ids of requests that timed out: their late replies are not messages
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
    this.#codec = CODECS[options.format];
  }

  get hasSocket() {
    return this.#socket !== null;
  }

  open(url, protocols, token) {
    this.token = token;
    const socket = new (this.#options.WebSocket ?? WebSocket)(url, protocols);
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

  request(message) {
    const id = ++this.#id;
    const waiting = deferred();
    this.#pending.set(id, waiting);
    if (this.isOver) waiting.reject(new FastWSError("connection_lost", "the connection has ended"));
    else {
      try {
        this.post({ ...message, id });
      } catch (error) {
        waiting.reject(new FastWSError("bad_request", `the message cannot be encoded: ${error.message}`));
      }
    }
    const reply = within(this.#options.requestTimeout, waiting.promise).finally(() => this.#pending.delete(id));
    reply.catch((error) => error.code === "timeout" && this.#givenUp.add(id));
    return reply;
  }

  /** End it without a word to the hooks. */
  abandon(code = NORMAL, reason = "") {
    if (this.isOver) return;
    this.#stop(code, reason);
    // A page may close with 1000 and with codes from 3000 only.
    this.#closeSocket(code >= 3000 ? code : NORMAL, clipped(reason));
  }

  /** Test it now: after a change of the network it may be dead without a sign. */
  probe() {
    const { requestTimeout, pongTimeout } = this.#options;
    // A message as large as the largest so far may be on its way, and the reply comes after it.
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

  /** A page cannot see the server's pings: after a silence it sends one of its own. */
  #beat() {
    if (!this.#hasHeard && this.#deadline === undefined) this.#ping(this.#options.pongTimeout);
    this.#hasHeard = false;
  }

  /** Give the connection up if nothing at all arrives within `seconds`. */
  #ping(seconds) {
    this.request({ [this.#dialect.verb]: "ping" }).catch(() => {}); // the deadline decides
    const dueAt = performance.now() + seconds * 1000;
    if (this.#deadline !== undefined && this.#dueAt <= dueAt) return;
    clearTimeout(this.#deadline);
    this.#dueAt = dueAt;
    const wait = (unsent) => {
      this.#deadline = setTimeout(() => {
        const left = this.#socket.bufferedAmount;
        // The peer still takes what was written before the ping.
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
    if (waiting && message[this.#dialect.word] === "error") {
      const channel = message.channel ?? message.room_id ?? null;
      waiting.reject(new FastWSError(message.code ?? "refused", message.message, channel));
    } else if (waiting) {
      waiting.resolve(message);
    } else if (!this.#isGreeted && this.#dialect.isGreeting?.(message)) {
      this.#greeted(message);
    } else if (!this.#givenUp.delete(id)) {
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

/** `reason` as far as it fits into a close frame. */
function clipped(reason) {
  let text = String(reason);
  while (new TextEncoder().encode(text).length > MOST_REASON_BYTES) text = text.slice(0, -1);
  return text;
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

// --- subscriptions

const SUBSCRIBE_AGAIN_SECONDS = 5;
const TEMPORARY = new Set(["rate_limited", "broker_unavailable", "internal"]);

/**
 * What the application wants to hear. While connected, each change is sent at once, in the order of the calls. All
 * others wait for the next connection, which begins with a request for everything that is wanted by then: no change
 * is sent twice, and the last one said holds.
 */
class Subscriptions {
  #filter;
  #report;
  #link = null;
  #changes = new Set(); // those without an outcome
  #ended = null;

  constructor(filter, report) {
    this.#filter = filter;
    this.#report = report;
  }

  add(wanted) {
    return this.#change(this.#filter.add(wanted));
  }

  remove(unwanted) {
    return this.#change(this.#filter.remove(unwanted));
  }

  /** The server has taken this client off `channel`. */
  left(channel) {
    this.#filter.left(channel);
  }

  /** Ask for everything that is wanted. Resolves when all of it is answered. */
  connected(link) {
    this.#link = link;
    const requests = this.#filter.restore();
    const waiting = [...this.#changes];
    const answered = requests.map((request) => {
      const concerned = waiting.filter((change) => this.#filter.isCovered(change.request, request));
      concerned.forEach((change) => waiting.splice(waiting.indexOf(change), 1));
      return this.#restore(link, request, concerned);
    });
    // What a later call has undone needs no request.
    waiting.forEach((change) => this.#settle(change));
    return Promise.all(answered);
  }

  lost() {
    this.#link = null;
  }

  ended(error) {
    this.#ended = error;
    this.#changes.forEach((change) => this.#settle(change, error));
  }

  #change(requests) {
    if (this.#ended) return Promise.reject(this.#ended);
    const changes = requests.map((request) => ({ request, outcome: deferred() }));
    for (const change of changes) {
      this.#changes.add(change);
      if (this.#link) this.#send(this.#link, change);
    }
    return Promise.all(changes.map((change) => change.outcome.promise));
  }

  async #send(link, change) {
    const error = await this.#ask(link, change.request);
    if (link === this.#link || !error) this.#settle(change, error);
  }

  async #restore(link, request, changes) {
    const error = await this.#ask(link, request);
    if (link !== this.#link) return;
    if (TEMPORARY.has(error?.code)) {
      this.#report(error);
      setTimeout(() => {
        if (link === this.#link && this.#filter.isWanted(request)) this.#restore(link, request, changes);
        else if (link === this.#link) changes.forEach((change) => this.#settle(change));
      }, SUBSCRIBE_AGAIN_SECONDS * 1000);
    } else {
      if (error && !changes.length) this.#report(error);
      changes.forEach((change) => this.#settle(change, error));
    }
  }

  /** The error that the server answers with, null if there is none. */
  async #ask(link, request) {
    try {
      await link.request(request);
      this.#filter.confirmed(request);
      return null;
    } catch (error) {
      if (link !== this.#link) return error;
      // A request that was sent and not answered in time is very likely carried out.
      if (error.code === "timeout") this.#filter.confirmed(request);
      else if (error.code !== "connection_lost") this.#filter.refused(request, error);
      return error;
    }
  }

  #settle(change, error = null) {
    this.#changes.delete(change);
    if (error) change.outcome.reject(error);
    else change.outcome.resolve();
  }
}

/** Channels or rooms: one request for each name, and the latest one for a name decides. */
class Names {
  #verb;
  #field;
  #wanted = new Map(); // name -> its latest request, whether it waits for an answer, whether one was confirmed

  constructor(verb, field) {
    this.#verb = verb;
    this.#field = field;
  }

  add(names) {
    return [names].flat().map((name) => this.#subscribe(name));
  }

  remove(names) {
    return [names].flat().map((name) => (this.#wanted.delete(name), this.#request("unsubscribe", name)));
  }

  restore() {
    return [...this.#wanted.keys()].map((name) => this.#subscribe(name));
  }

  isCovered(change, restored) {
    return change[this.#verb] === "subscribe" && change[this.#field] === restored[this.#field];
  }

  isWanted(request) {
    return this.#wanted.get(request[this.#field])?.request === request;
  }

  confirmed(request) {
    if (!this.isWanted(request)) return;
    Object.assign(this.#wanted.get(request[this.#field]), { isOpen: false, wasConfirmed: true });
  }

  /** The server will not: forget the name, unless it is subscribed to all the same. */
  refused(request, { code }) {
    if (!this.isWanted(request)) return;
    const entry = this.#wanted.get(request[this.#field]);
    entry.isOpen = false;
    if (!(entry.wasConfirmed && TEMPORARY.has(code))) this.#wanted.delete(request[this.#field]);
  }

  left(name) {
    // A later request for it has an answer of its own.
    if (!this.#wanted.get(name)?.isOpen) this.#wanted.delete(name);
  }

  #subscribe(name) {
    const request = this.#request("subscribe", name);
    const wasConfirmed = this.#wanted.get(name)?.wasConfirmed ?? false;
    this.#wanted.set(name, { request, isOpen: true, wasConfirmed });
    return request;
  }

  #request(word, name) {
    return { [this.#verb]: word, [this.#field]: name };
  }
}

/**
 * One filter for everything that is heard, changed by each request: what the server has confirmed, and the changes
 * after that in the order of their calls. A change that the server refuses has changed nothing.
 */
class Filter {
  #changes = [];
  #state = null; // null: everything

  restore() {
    const request = this.#state && this.said(this.#state);
    this.#state = null; // that of a fresh connection
    if (request) this.#changes.unshift(request);
    return [...this.#changes];
  }

  isCovered(change, restored) {
    return change === restored;
  }

  isWanted(request) {
    return this.#changes.includes(request);
  }

  confirmed(request) {
    if (this.#drop(request)) this.#state = this.apply(this.#state, request);
  }

  refused(request) {
    this.#drop(request);
  }

  left() {}

  change(request) {
    this.#changes.push(request);
    return [request];
  }

  #drop(request) {
    const at = this.#changes.indexOf(request);
    if (at >= 0) this.#changes.splice(at, 1);
    return at >= 0;
  }
}

/** Event types of a workspace: all of them, only some, or all but some (`isExcluding`). */
class EventTypes extends Filter {
  add(types) {
    return this.change({ type: "subscribe", event_types: [types].flat() });
  }

  remove(types) {
    return this.change({ type: "unsubscribe", event_types: [types].flat() });
  }

  apply(state, { type, event_types: named }) {
    const { types, isExcluding } = state ?? { types: [], isExcluding: true };
    const isAll = named.includes("*");
    if (type === "subscribe") {
      if (isAll) return null;
      return { types: isExcluding ? named : [...new Set([...types, ...named])], isExcluding: false };
    }
    if (isAll) return { types: [], isExcluding: false };
    if (isExcluding) return { types: [...new Set([...types, ...named])], isExcluding };
    return { types: types.filter((each) => !named.includes(each)), isExcluding };
  }

  said({ types, isExcluding }) {
    return isExcluding && !types.length
      ? null
      : { type: isExcluding ? "unsubscribe" : "subscribe", event_types: types };
  }
}

/** Job ids and statuses: each `subscribe` replaces the filter; a list of names alone means job ids. */
class Jobs extends Filter {
  add(wanted) {
    const { jobIds = [], statuses = [] } =
      typeof wanted === "string" || Array.isArray(wanted) ? { jobIds: [wanted].flat() } : wanted;
    return this.change({ type: "subscribe", job_ids: jobIds, statuses });
  }

  remove() {
    return this.change({ type: "unsubscribe" });
  }

  apply(_, request) {
    return request.type === "subscribe" ? request : null;
  }

  said(state) {
    return { ...state };
  }
}

// --- dialects

/**
 * `verb` is the key that says what a request wants, `word` the one that says what a message of the server is.
 * `isGreeting` knows the first message; without it there is none.
 */
const DIALECTS = {
  channels: {
    path: "",
    verb: "action",
    word: "type",
    filter: () => new Names("action", "channel"),
    isGreeting: ({ type }) => type === "connection_id",
    leftChannel: ({ type, reason, channel }) => leftIf(type === "unsubscribe_succeeded", reason, channel),
  },
  rooms: {
    path: "api/v1/ws",
    verb: "type",
    word: "type",
    filter: () => new Names("type", "room_id"),
    isGreeting: ({ type, event }) => type === "connection" && event === "connected",
    leftChannel: ({ type, event, reason, room_id }) =>
      leftIf(type === "subscription" && event === "unsubscribed", reason, room_id),
  },
  workspaces: {
    path: "ws",
    verb: "type",
    word: "event",
    filter: () => new EventTypes(),
    isGreeting: ({ event }) => event === "connected",
    leftChannel: () => null,
  },
  jobs: { path: "ws", verb: "type", word: "type", filter: () => new Jobs(), isGreeting: null, leftChannel: () => null },
};

/** The channel that the server took this client off by itself: only then is there a reason. */
function leftIf(isUnsubscribed, reason, channel) {
  return isUnsubscribed && reason !== undefined ? (channel ?? null) : null;
}

// --- backoff

// Codes whose clients the server wants to be away for a while, however well their network is.
const SPREAD_CODES = new Set([RESTART, 1008, 1013]);

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
  // 1013: too slow, or the server is full; 1008: too many messages. An immediate return would end in the same way.
  const least = code === 1013 || code === 1008 ? 1000 : 0;
  return least + random() * Math.min(longest, first * 2 ** Math.min(attempt, 30));
}

// --- addresses

/** The URL and subprotocols. Without `url`: the server that served this file. A URL without a path gets the dialect's. */
function addressOf({ url, format, auth, dialect, workspaceId }, { path }, token) {
  const base = new URL(url ?? "..", url === undefined ? import.meta.url : globalThis.location?.href);
  if (!/^(ws|http)s?:$/.test(base.protocol)) {
    throw new FastWSError("bad_request", `\`url\` must begin with ws, wss, http or https: ${base}`);
  }
  base.protocol = base.protocol.replace("http", "ws");
  const isOwnPath = url !== undefined && base.pathname !== "/";
  if (!isOwnPath) base.pathname += path;
  base.hash = "";
  // With a token, /ws serves workspaces.
  const shown = dialect === "jobs" && !isOwnPath ? null : token;
  if (workspaceId !== undefined && workspaceId !== null) base.searchParams.set("workspace_id", workspaceId);
  if (auth === "query") {
    if (shown) base.searchParams.set("token", shown);
    if (format !== "json") base.searchParams.set("format", format);
    return [base.href, []];
  }
  return [base.href, [`fastws.${format}`, ...(shown ? [`fastws.token.${shown}`] : [])]];
}

// --- tokens

const REFRESH_AHEAD_SECONDS = 60;
const RENEW_AGAIN_SECONDS = 5;
// A login may need its user.
const GET_TOKEN_SECONDS = 120;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The token to connect with, from `getToken` if there is one; that is asked one thing at a time. */
class Tokens {
  isRefused = false;
  #getToken;
  #asking = null;

  constructor({ token, getToken }) {
    this.token = token ?? null;
    this.#getToken = getToken;
  }

  async current() {
    if (!this.#getToken) return this.token;
    const reason = this.isRefused ? "refused" : this.token === null ? "start" : "expiring";
    if (reason === "expiring" && expiryOf(this.token) * 1000 > Date.now() + 5000) return this.token;
    return this.ask(reason);
  }

  ask(reason) {
    this.#asking ??= within(GET_TOKEN_SECONDS, this.#ask(reason), "getToken gave no token").finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #ask(reason) {
    const before = this.token;
    const token = (await this.#getToken({ reason })) ?? null;
    // `refresh` may have given a newer one in the meantime.
    if (this.token === before) this.token = token;
    this.isRefused = false;
    return this.token;
  }
}

function secondsToRefresh(expires) {
  const seconds = expires - Date.now() / 1000;
  return Math.max(seconds - Math.min(REFRESH_AHEAD_SECONDS, seconds / 4), 0);
}

/** `exp` of a JWT in seconds since the epoch; NaN where it cannot be told. */
export function expiryOf(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")));
    return typeof claims.exp === "number" ? claims.exp : NaN;
  } catch {
    return NaN; // not a JWT: the server decides, and closes with 4401 when the token ends
  }
}

// --- promises and errors

function deferred() {
  const it = {};
  it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }));
  it.promise.catch(() => {}); // it need not be waited for by anybody
  return it;
}

function within(seconds, promise, text = "no answer") {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new FastWSError("timeout", `${text} within ${seconds} s`)), seconds * 1000);
  });
  const first = Promise.race([promise, late]).finally(() => clearTimeout(timer));
  first.catch(() => {});
  return first;
}

function asError(error) {
  return error instanceof FastWSError ? error : new FastWSError("internal", error?.message ?? String(error));
}

// --- codecs

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
