/** The properties of each dialect that a client depends on. */

import { EventTypes, Jobs, Names } from "./filters.js";

/**
 * `verb` is the key of a request that names the action, `word` the key of a message that names its type. `isGreeting`
 * recognizes the first message; null if the server sends none.
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

/** The channel from which the server has unsubscribed this client without a request; only then there is a reason. */
function leftIf(isUnsubscribed, reason, channel) {
  return isUnsubscribed && reason !== undefined ? (channel ?? null) : null;
}
