/** The dialects of the server, as a client speaks them. */

import { EventTypes, Jobs, Names } from "./filters.js";

/**
 * `verb` is the key that says what a request wants, `word` the one that says what a message of the server is.
 * `isGreeting` knows the first message; without it there is none.
 */
export const DIALECTS = {
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
