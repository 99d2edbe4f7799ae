/** The positions of a client: how far it has come in the history of each channel, and what it missed while away. */

import { FastWSError } from "./errors.js";
import { deferred, within } from "./promises.js";
import { claimOf } from "./tokens.js";

// The client has joined such channels by its client id; they are never the home channel of a dialect.
const MAILBOX_PREFIX = "client:";

/** The position in `offset` and `epoch` of a message; null if there is none. */
function positionIn(message) {
  const { offset, epoch } = message ?? {};
  return Number.isSafeInteger(offset) && offset >= 0 && typeof epoch === "string" ? { offset, epoch } : null;
}

/**
 * `tellGap` is called in the place of what was missed. The home channel is the one that the server joins the client to
 * at the upgrade. The greeting does not name it, so its name is the dialect's default until a delivery names it.
 */
export class Positions {
  #dialect;
  #filter;
  #tellGap;
  #known = new Map();
  #joined = new Set(); // on the current connection
  #leaving = new Set();
  #recovered = new Map(); // since the connection was lost
  #told = new Set(); // the gaps among them
  #home = null;
  #workspace = null;
  #clientId;
  #mailbox = null; // the channel of the client id, once the server has named it
  #replay; // publications to get of a channel that is subscribed for the first time
  #feed = null; // settled when the greeting of a feed has come; null if none is due
  #wasConnected = false;
  #isReturning = false;

  constructor({ positions, replay = 0, clientId }, dialect, filter, tellGap) {
    this.#replay = replay;
    this.#clientId = clientId;
    this.#dialect = dialect;
    this.#filter = filter;
    this.#tellGap = tellGap;
    for (const [channel, fields] of Object.entries(positions ?? {})) {
      const position = positionIn(fields);
      if (!position) throw new FastWSError("bad_request", `no position in \`positions\` for ${channel}: { offset, epoch }`);
      this.#known.set(channel, position);
    }
  }

  /** `{ [channel]: { offset, epoch } }` */
  get all() {
    return Object.fromEntries([...this.#known].map(([channel, position]) => [channel, { ...position }]));
  }

  /** The keys for the query of the upgrade with which the server continues the home channel and the mailbox. */
  query(token) {
    return { ...this.#homeQuery(token), ...this.#mailboxQuery(token) };
  }

  #mailboxQuery(token) {
    const id = this.#clientId;
    const given = id === undefined ? {} : { client_id: id };
    const user = claimOf(token, "sub");
    const position = this.#known.get(this.#mailbox ?? (user ? `${MAILBOX_PREFIX}${user}:${id}` : `${MAILBOX_PREFIX}${id}`));
    if (position && (this.#mailbox || id !== undefined)) {
      return { ...given, client_offset: position.offset, client_epoch: position.epoch };
    }
    const isFirst = id !== undefined && this.#replay && !this.#wasConnected;
    return isFirst ? { ...given, client_replay: this.#replay } : given;
  }

  #homeQuery(token) {
    const { home, hasFilter, isGreeting } = this.#dialect;
    if (!home) return {};
    this.#home ??= this.#findHome(hasFilter ? home : home + (claimOf(token, "sub") ?? ""));
    const position = this.#known.get(this.#home);
    const chosen = this.#filter.query();
    this.#feed = isGreeting ? null : deferred();
    // Without its filter in the query, the client would be replayed what it does not want.
    if (position && chosen) return { ...position, ...chosen };
    if (this.#replay && chosen && !this.#wasConnected) return { replay: this.#replay, ...chosen };
    return isGreeting ? {} : { replay: 0 };
  }

  #findHome(standard) {
    const wanted = new Set(this.#filter.names());
    const [found] = [...this.#known.keys()].filter((name) => this.#mayBeHome(name) && !wanted.has(name));
    return this.#known.has(standard) ? standard : (found ?? standard);
  }

  #mayBeHome(channel) {
    const { hasFilter, home } = this.#dialect;
    return (hasFilter || channel.startsWith(home)) && !channel.startsWith(MAILBOX_PREFIX);
  }

  /** The connection is open. Resolves when the position of the home channel is known. */
  async greeted(greeting, seconds) {
    const isReturning = (this.#isReturning = this.#wasConnected);
    this.#wasConnected = true;
    if (greeting) this.#joinMailbox(greeting);
    if (!this.#home) return;
    const feed = this.#feed;
    if (greeting) this.#greet(greeting);
    else if (!this.#known.has(this.#home) && this.#clientId === undefined) this.#join(this.#home, {}, isReturning);
    else {
      // An older server does not greet a feed.
      await within(seconds, feed.promise).catch(() => this.#feed === feed && this.#greet({}));
    }
  }

  #joinMailbox({ client }) {
    if (typeof client?.channel !== "string") return;
    this.#mailbox = client.channel;
    this.#join(client.channel, client, this.#isReturning);
  }

  #greet(greeting) {
    this.#workspace = greeting.workspace_id ?? this.#workspace;
    const { home, word } = this.#dialect;
    if (this.#home === home && word === "event") this.#home += this.#workspace ?? "";
    this.#join(this.#home, greeting, this.#isReturning);
    this.#feed?.resolve();
    this.#feed = null;
  }

  /** The keys with which `request`, a subscription, continues from the position of its channel. */
  fields(request) {
    const channel = this.#channelOf(request, "subscribe");
    if (channel === null || this.#leaving.has(channel)) return {};
    const isFirst = !this.#known.has(channel) && !this.#filter.wasHeard(request);
    return isFirst && this.#replay ? { replay: this.#replay } : { ...this.#known.get(channel) };
  }

  /** The server has granted `request`. */
  answered(request, reply) {
    const subscribed = this.#channelOf(request, "subscribe");
    const unsubscribed = this.#channelOf(request, "unsubscribe");
    if (subscribed !== null) this.#join(subscribed, reply, this.#wasConnected && this.#filter.wasHeard(request));
    else if (unsubscribed !== null) this.left(unsubscribed);
    else if (this.#home && this.#dialect.hasFilter && positionIn(reply)) this.#join(this.#home, reply, false);
    else if (this.#home && request[this.#dialect.verb] === "ping") this.#advance(reply.offset);
  }

  /** The server delivers `channel` to this client from now on. */
  #join(channel, reply, wasHeard) {
    const before = this.#known.get(channel);
    const now = positionIn(reply);
    const isFirst = !this.#joined.has(channel);
    this.#joined.add(channel);
    const isRecovered = reply.recovered === true;
    const returns = isFirst && (wasHeard || before !== undefined);
    if (returns) this.#recovered.set(channel, isRecovered && (this.#recovered.get(channel) ?? true));
    if (!reply.replayed) this.#set(channel, now);
    else if (!isRecovered || !before) this.#set(channel, now && { offset: 0, epoch: now.epoch });
    // Otherwise the deliveries that follow lead to the position.
    // For channels without history, `restored` reports the gaps: one for all if nothing was recovered.
    if (returns && !isRecovered && (before || !this.#isReturning)) this.#gap(channel, now);
  }

  #gap(channel, position) {
    this.#told.add(channel);
    const shown = this.#dialect.hasFilter && channel !== this.#mailbox ? this.#workspace : channel;
    this.#tellGap({ channel: shown, source: "reconnect", ...position });
  }

  /** All subscriptions are restored: tells the remaining gaps, and returns which channels were recovered. */
  restored() {
    const recovered = Object.fromEntries(this.#recovered);
    const missed = Object.keys(recovered).filter((channel) => !recovered[channel] && !this.#told.has(channel));
    const isAll = !this.#told.size && !Object.values(recovered).includes(true);
    const wasReturning = this.#isReturning;
    this.#isReturning = false;
    this.#forgetOutcome();
    if (wasReturning && isAll) this.#tellGap({ channel: null, source: "reconnect" });
    else missed.forEach((channel) => this.#gap(channel, null));
    return recovered;
  }

  #forgetOutcome() {
    this.#recovered.clear();
    this.#told.clear();
  }

  /** Takes the position of a message that is not a reply. Returns whether the message goes no further. */
  takes(message) {
    const { word, key } = this.#dialect;
    const { offset, data } = message;
    const channel = message[key] ?? message.channel; // rooms, too, name a mailbox in `channel`
    if (data === undefined && this.#feed && message[word] === "subscribed") return this.#greetFeed(message), true;
    if (data === undefined) return this.#takeGap(message, channel), false;
    if (!Number.isSafeInteger(offset) || typeof channel !== "string") return false;
    const known = this.#known.get(channel) ?? this.#nameHome(channel);
    if (known && offset <= known.offset) return true;
    if (known) this.#set(channel, { ...known, offset });
    return false;
  }

  #greetFeed(message) {
    this.#joinMailbox(message);
    this.#greet(message);
  }

  #takeGap(message, channel = this.#home) {
    const position = positionIn(message);
    if (message[this.#dialect.word] === "gap" && position && typeof channel === "string") this.#set(channel, position);
  }

  /** A delivery names the home channel. Returns its position. */
  #nameHome(channel) {
    const position = this.#known.get(this.#home);
    if (!position || !this.#mayBeHome(channel)) return undefined;
    this.#set(this.#home, null);
    this.#joined.add(channel);
    if (this.#recovered.has(this.#home)) {
      this.#recovered.set(channel, this.#recovered.get(this.#home));
      this.#recovered.delete(this.#home);
    }
    if (this.#told.delete(this.#home)) this.#told.add(channel);
    this.#home = channel;
    return position;
  }

  #advance(offset) {
    const known = this.#known.get(this.#home);
    if (known && Number.isSafeInteger(offset) && offset > known.offset) this.#set(this.#home, { ...known, offset });
  }

  /** The application no longer wants `channels`. Those of a connection are left when the server confirms it. */
  leave(channels, isConnected) {
    if (this.#dialect.hasFilter) return;
    for (const channel of channels) {
      if (isConnected) this.#leaving.add(channel);
      else this.left(channel);
    }
  }

  /** The server no longer delivers `channel` to this client. */
  left(channel) {
    for (const each of [this.#leaving, this.#joined, this.#recovered, this.#known]) each.delete(channel);
  }

  /** The connection is lost. */
  lost() {
    if (!this.#isReturning) this.#forgetOutcome();
    this.#feed = null;
    this.#joined.clear();
    [...this.#leaving].forEach((channel) => this.left(channel));
  }

  #set(channel, position) {
    if (position) this.#known.set(channel, position);
    else this.#known.delete(channel);
  }

  /** The channel of `request` if it is an `action` for one. */
  #channelOf(request, action) {
    const { hasFilter, verb, key } = this.#dialect;
    return !hasFilter && request[verb] === action && typeof request[key] === "string" ? request[key] : null;
  }
}
