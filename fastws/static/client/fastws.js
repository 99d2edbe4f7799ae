/**
 * The fastws client for browsers (and Node 22, Deno, Bun), which reconnects and resubscribes automatically. It has no
 * dependencies.
 *
 *     import { connect } from "https://live.example.com/client/fastws.js";
 *     const client = connect({ channels: ["news"], onMessage: (message) => console.log(message) });
 *     await client.send("news", "hello", { text: "world" });
 *
 * fastws.d.ts describes every option, event and method.
 */

import { addressOf, formatIn } from "./address.js";
import { NORMAL } from "./backoff.js";
import { CODECS } from "./codecs.js";
import { Connection } from "./connection.js";
import { DIALECTS } from "./dialects.js";
import { FastWSError } from "./errors.js";
import { Positions } from "./positions.js";
import { within } from "./promises.js";
import { Subscriptions } from "./subscriptions.js";

export { reconnectDelay } from "./backoff.js";
export { expiryOf } from "./tokens.js";
export { FastWSError };

const DEFAULTS = {
  format: "json",
  dialect: "channels",
  auth: "subprotocol",
  reconnect: true,
  maxReconnectAttempts: Infinity,
  connectTimeout: 10,
  requestTimeout: 10,
  pingInterval: 25,
  // Browsers deliver a message only when it is complete: 1 MiB takes 66 s at 128 kbit/s.
  pongTimeout: 90,
};

/** Creates a client, which starts to connect at once. */
export function connect(options = {}) {
  return new Client(options);
}

export class Client {
  #dialect;
  #options;
  #subscriptions;
  #positions;
  #connection;
  #listeners = new Map();

  constructor(options) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = { ...DEFAULTS, ...Object.fromEntries(given) };
    this.#dialect = DIALECTS[this.#options.dialect];
    if (!this.#dialect) throw new FastWSError("bad_request", `unknown dialect: ${this.#options.dialect}`);
    this.#options.format = formatIn(this.#options.url) ?? this.#options.format;
    if (!CODECS[this.#options.format]) throw new FastWSError("bad_request", "`format` must be json or msgpack");
    for (const [name, listener] of given) {
      if (/^on[A-Z]/.test(name) && listener) this.on(name[2].toLowerCase() + name.slice(3), listener);
    }
    addressOf(this.#options, this.#dialect, null); // throws here, where the caller sees it, if the URL is invalid
    const filter = this.#dialect.filter();
    this.#positions = new Positions(this.#options, this.#dialect, filter, (gap) => this.#emit("gap", gap));
    const fieldsOf = (request) => this.#positions.fields(request);
    this.#subscriptions = new Subscriptions(filter, (error) => this.#emit("error", error), fieldsOf);
    if (this.#options.channels?.length) this.#subscriptions.add(this.#options.channels).catch(() => {});
    this.#connection = new Connection(this.#options, this.#dialect, {
      heard: (message, event) => this.#hear(message, event),
      query: (token) => this.#positions.query(token),
      greeted: (link, greeting) => this.#greeted(link, greeting),
      answered: (request, reply) => this.#positions.answered(request, reply),
      restored: (isAgain) => this.#restored(isAgain),
      lost: () => {
        this.#subscriptions.lost();
        this.#positions.lost();
      },
      ended: (error) => this.#subscriptions.ended(error),
      status: (change) => this.#emit("status", change),
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

  /** The position on each channel with history after the last message emitted: `{ [channel]: { offset, epoch } }`. */
  get positions() {
    return this.#positions.all;
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
    const removed = this.#subscriptions.remove(unwanted);
    this.#positions.leave([unwanted ?? []].flat(), this.status === "connected");
    await removed;
  }

  async send(channel, event, data = null, { excludeSelf = false, ephemeral = false, key } = {}) {
    const flags = { ...(excludeSelf && { exclude_self: true }), ...(ephemeral && { ephemeral }) };
    const more = { ...flags, ...(key !== undefined && { key }) };
    return this.#send({ channel, event, data, ...more });
  }

  async sendTo(connectionId, event, data = null) {
    return this.#send({ connectionId, event, data });
  }

  async requestMetrics(metricType) {
    const wanted = metricType === undefined ? {} : { metric_type: metricType };
    return (await this.request({ type: "request_metrics", ...wanted })).data;
  }

  /** A page of the history of `channel`; in workspaces and jobs of the feed, whatever `channel` is. */
  async history(channel, { limit, offset, epoch, reverse } = {}) {
    const { verb, key, hasFilter } = this.#dialect;
    const asked = Object.entries({ limit, offset, epoch, reverse }).filter(([, value]) => value !== undefined);
    const named = hasFilter ? {} : { [key]: channel };
    const page = await this.request({ [verb]: "history", ...named, ...Object.fromEntries(asked) });
    return { messages: page.messages, offset: page.offset, epoch: page.epoch };
  }

  /** A page of the members of `channel`; in workspaces and jobs of the feed, whatever `channel` is. */
  async presence(channel, { limit, cursor } = {}) {
    const { verb, key, hasFilter } = this.#dialect;
    const asked = { ...(!hasFilter && { [key]: channel }), ...(limit !== undefined && { limit }), ...(cursor && { cursor }) };
    const { count, users, members, cursor: next } = await this.request({ [verb]: "presence", ...asked });
    return { count, users, ...(members && { members, cursor: next }) };
  }

  /** Measures the round trip to the server, in milliseconds. */
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
    // While connected, the request is written before this call returns, so that requests keep their order.
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

  /** Resolves when all subscriptions are restored. */
  #greeted(link, greeting) {
    const home = this.#positions.greeted(greeting, this.#options.requestTimeout);
    return Promise.all([home, this.#subscriptions.connected(link)]);
  }

  #restored(isAgain) {
    const recovered = this.#positions.restored();
    if (isAgain) this.#emit("reconnected", { connectionId: this.connectionId, recovered });
  }

  /** Emits the notices of the server and updates of presence; everything else is a message. */
  #hear(message, event) {
    if (this.#positions.takes(message)) return;
    const { word, leftChannel } = this.#dialect;
    const kind = "data" in message ? null : message[word];
    const channel = message.channel ?? message.room_id ?? message.workspace_id ?? null;
    const left = kind === null ? null : leftChannel(message);
    if (left !== null) {
      this.#subscriptions.left(left);
      this.#positions.left(left);
      this.#emit("left", { channel: left, reason: message.reason });
    } else if (kind === "gap") {
      const { offset, epoch } = message;
      this.#emit("gap", { channel, source: "server", ...(epoch !== undefined && { offset, epoch }) });
    } else if (kind === "lag") {
      this.#emit("lag", { channel, dropped: message.dropped });
    } else if (kind === "presence_update" || (kind === "presence" && message.event === "update")) {
      const { joined, left: gone, count, users, partial = false } = message;
      this.#emit("presence", { channel, joined: joined ?? [], left: gone ?? [], count, users, partial });
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
