/** fastws for browsers: https://…/client/fastws.js, an ES module without dependencies. */

export type Dialect = "channels" | "rooms" | "workspaces" | "jobs";
export type Format = "json" | "msgpack";
/**
 * `connecting` the first time, `reconnecting` later. `disconnected` and `refused` are final: make another client.
 * `refused`: the server answers 401 or 403 to this client, and `getToken`, if there is one, has no other token.
 */
export type Status = "connecting" | "connected" | "reconnecting" | "disconnected" | "refused";
/** Why a token is needed: the first one, the old one expires soon, or the server has (perhaps) refused it. */
export type TokenReason = "start" | "expiring" | "refused";

/** A message in the format of its dialect: `{channel, event, data, from}`, `{type, event, data, timestamp}`, … */
export interface Message {
  [key: string]: any;
}

/** A received message. As in a WebSocket's own event, `data` is its text (JSON, also for msgpack). */
export interface Heard {
  readonly message: Message;
  readonly data: string;
  readonly frame: string | ArrayBuffer;
}

export interface StatusChange {
  status: Status;
  /**
   * How the connection ended: the close code, 1006 for a connection that was lost or refused; 0: no token. With
   * `refused` it is 4401 (the token) or 4403 (the origin, or what the token allows), and `reason` is the server's text.
   */
  code?: number;
  reason?: string;
  /** Milliseconds until the next attempt. */
  delay?: number;
  attempt?: number;
}

/** Something was missed: load the current state again. `channel` null means on all channels of this client. */
export interface Gap {
  channel: string | null;
  /** `server`: the server lost its broker for a while. `reconnect`: this client was disconnected, or could subscribe
   * again only later. Its channels are subscribed when it is called, so that what is loaded then misses nothing.
   */
  source: "server" | "reconnect";
  /** On a channel with history: the next message comes after this position. */
  offset?: number;
  epoch?: string;
}

/** How far a client has come on each channel with history. It can be stored as JSON. */
export type Positions = Record<string, { offset: number; epoch: string }>;

/** The client is connected again, and its subscriptions are restored. */
export interface Reconnected {
  connectionId: string | null;
  /** For each channel whether nothing was missed; false for channels without history. */
  recovered: Record<string, boolean>;
}

/** One connection in a channel with presence. */
export interface Member {
  connection_id: string;
  user: string;
  client_id?: string;
  /** The claim `info` of the token. */
  info?: any;
}

/** Members have joined or left. Apply `left` before `joined`. */
export interface PresenceUpdate {
  channel: string | null;
  /** Empty, as `left`, in a channel that shows only figures. */
  joined: Member[];
  left: Member[];
  /** The number of connections now, and of distinct users. */
  count: number;
  users: number;
  /** Too many have joined or left to list them: ask for `presence` again if you show a list. */
  partial: boolean;
}

export interface PresenceOptions {
  /** 1 to 1000. Default: 100. */
  limit?: number;
  /** The `cursor` of the page before. */
  cursor?: string | null;
}

export interface PresencePage {
  count: number;
  users: number;
  /** By connection id. Missing, as `cursor`, in a channel that shows only figures. */
  members?: Member[];
  /** Asks for the next members; null: there are no more. */
  cursor?: string | null;
}

/** This client read too slowly, and the server dropped `dropped` messages. */
export interface Lag {
  channel: string | null;
  dropped: number;
}

/** A new token no longer allows this channel. */
export interface Left {
  channel: string;
  reason: string;
}

/** Called with every message in both directions, including notices and replies: for logs. */
export type Traffic = (direction: "in" | "out", message: Message, frame: string | Uint8Array | ArrayBuffer) => void;

export interface Events {
  /** Everything but replies to requests, the greeting and notices; also verbatim messages of `@connections`. */
  message: (message: Message, event: Heard) => void;
  status: (change: StatusChange) => void;
  gap: (gap: Gap) => void;
  reconnected: (change: Reconnected) => void;
  lag: (lag: Lag) => void;
  left: (left: Left) => void;
  presence: (update: PresenceUpdate) => void;
  /**
   * Errors that no promise carries, such as the reason for a refused connection: `unauthorized`, `forbidden`,
   * `not_found`, `rate_limited`, `unavailable`, … Without a listener they are warnings on the console.
   */
  error: (error: FastWSError) => void;
  traffic: Traffic;
}

export interface Options {
  /**
   * `wss://host`, `https://host` or a full address; relative ones are resolved against the page. A URL without a
   * path gets the dialect's own. Default: the server that this file was loaded from.
   */
  url?: string;
  /** Default: channels. */
  dialect?: Dialect;
  /** Default: json. `?format=` in `url` goes before it. */
  format?: Format;
  token?: string | null;
  /** Called at the start, a minute before the token expires, and when the server refuses it. */
  getToken?: (why: { reason: TokenReason }) => string | null | Promise<string | null>;
  /** How the token is sent; proxies log a token in the query. Default: subprotocol. */
  auth?: "subprotocol" | "query";
  /** What to subscribe to from the start: channels, rooms, event types or job ids. */
  channels?: string[];
  /** Only in the workspaces dialect. Default: the token's own. */
  workspaceId?: string | null;
  /**
   * Subscribes to this client's mailbox from the start: `client:{sub}:{clientId}`, without a token `client:{clientId}`.
   * 1 to 128 characters of A-Z, a-z, 0-9 and `_.@-`.
   */
  clientId?: string;
  /** `positions` of an earlier client: continue there on channels with history. */
  positions?: Positions;
  /** Number of messages to get from the history of a channel that is subscribed for the first time. Default: none. */
  replay?: number;
  /** Default: true. */
  reconnect?: boolean;
  /** Failures in a row after which the client gives up. Default: never. */
  maxReconnectAttempts?: number;
  /** Milliseconds: the most to wait before the first attempt, doubled each time up to `longestDelay`. 500 and 30000. */
  firstDelay?: number;
  longestDelay?: number;
  /** Seconds from the start of an attempt until the server's greeting; then the next attempt is made. Default: 10. */
  connectTimeout?: number;
  /** Seconds. Default: 10. */
  requestTimeout?: number;
  /**
   * Seconds of silence after which the connection is tested with a ping. Default: 25. It is also tested at once when
   * the network comes back (`online`) and when the page becomes visible.
   */
  pingInterval?: number;
  /**
   * Seconds to wait for any message after that ping until the connection is given up. Default: 90. Browsers
   * show a message when all of it has arrived, and 1 MiB takes 66 s at 128 kbit/s: raise it together with the
   * server's `max_message_bytes`. The tests at once wait `requestTimeout` and, in addition, as long as the largest
   * message so far takes at 128 kbit/s.
   */
  pongTimeout?: number;
  /** A WebSocket class for environments without one. */
  WebSocket?: typeof WebSocket;

  onMessage?: Events["message"];
  onStatus?: Events["status"];
  onGap?: Events["gap"];
  onReconnected?: Events["reconnected"];
  onLag?: Events["lag"];
  onLeft?: Events["left"];
  onPresence?: Events["presence"];
  onError?: Events["error"];
  onTraffic?: Traffic;
}

export interface JobFilter {
  jobIds?: string[];
  statuses?: string[];
}

export interface Sent {
  sent: number;
  failed: number;
}

export interface SendOptions {
  excludeSelf?: boolean;
  key?: string;
  /** Not kept in the history: typing, cursors. */
  ephemeral?: boolean;
}

export interface HistoryOptions {
  /** 1 to 1000. Default: 100. */
  limit?: number;
  /** Together with `epoch`: the messages after this position, or with `reverse` those before it. */
  offset?: number;
  epoch?: string;
  /** Newest first. Default: oldest first. */
  reverse?: boolean;
}

export interface HistoryPage {
  /** Deliveries, each with its `timestamp`. */
  messages: Message[];
  /** The position of the newest message of the channel. */
  offset: number;
  epoch: string;
}

/**
 * Rejections are FastWSErrors. Requests made while the client connects wait for it, at most `requestTimeout`;
 * `subscribe` and `unsubscribe` wait without a limit.
 */
export class Client {
  constructor(options?: Options);
  readonly status: Status;
  /** Changes with each reconnect; null in the jobs dialect and while not connected. */
  readonly connectionId: string | null;
  /** After the last message emitted. A new object each time. */
  readonly positions: Positions;
  /** Resolves when connected, rejects when the client is disconnected for good. */
  readonly ready: Promise<Client>;
  /** Returns a function that removes the listener. */
  on<Name extends keyof Events>(name: Name, listener: Events[Name]): () => void;
  /**
   * Subscribe to these, now and after every reconnect: channels, rooms, event types (`"*"`: all), job ids or a
   * JobFilter (which replaces the one before). Resolves when the server has confirmed it, or when a later call has
   * replaced it. Calls may come in any order and at any time, connected or not: the last one wins.
   */
  subscribe(wanted: string | string[] | JobFilter): Promise<void>;
  /** In the jobs dialect it removes the filter, whatever is given. */
  unsubscribe(unwanted?: string | string[]): Promise<void>;
  /** Only in the channels dialect. */
  send(channel: string, event: string, data?: unknown, more?: SendOptions): Promise<Sent>;
  /** A page of the history of a channel; in workspaces and jobs of the feed, without a channel. */
  history(channel?: string | null, options?: HistoryOptions): Promise<HistoryPage>;
  /** A page of the members of a channel; in workspaces and jobs of the feed, without a channel. */
  presence(channel?: string | null, options?: PresenceOptions): Promise<PresencePage>;
  sendTo(connectionId: string, event: string, data?: unknown): Promise<Sent>;
  /** Only in the workspaces dialect: the last `metrics_update` of that type. */
  requestMetrics(metricType?: string): Promise<any>;
  /** The round-trip time in milliseconds. */
  ping(): Promise<number>;
  /** Replace the token of the open connection. Not needed with `getToken`. */
  refresh(token: string): Promise<void>;
  /** Send a message of the dialect with an `id`, and return the reply. */
  request(message: Message): Promise<Message>;
  /** Send a message unchanged, without waiting. Returns whether there was a connection. */
  post(message: Message): boolean;
  close(code?: number, reason?: string): void;
}

export function connect(options?: Options): Client;

export class FastWSError extends Error {
  constructor(code: string, message: string, channel?: string | null);
  /** The server's code (`forbidden`, `rate_limited`, …; `refused` in dialects without codes), or one of the client's. */
  readonly code: "timeout" | "connection_lost" | "closed" | "unauthorized" | "refused" | "invalid_message" | string;
  readonly channel: string | null;
}

/** Milliseconds to wait before attempt number `attempt`, counted from 0: full jitter, or the range of a 1012. */
export function reconnectDelay(
  attempt: number,
  more?: { code?: number; reason?: string; first?: number; longest?: number; random?: () => number },
): number;

/** `exp` of a JWT in seconds since the epoch; NaN if it cannot be read. */
export function expiryOf(token: string | null): number;
