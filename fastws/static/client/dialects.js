/** The properties of each dialect that a client depends on. */

import { EventTypes, Jobs, Names } from "./filters.js";

/**
 * `verb` is the key of a request that names the action, `word` the key of a message that names its type. `isGreeting`
 * recognizes the first message; null if the server sends none. `key` is the key of a delivery that names its channel.
 * `home` is the name, or the beginning of the name, of the channel that the server joins each client to. With
 * `hasFilter` that is the only channel, and the query of the upgrade has both its position and its filter.
 */
export const DIALECTS = {
  channels: {
    path: "",
    verb: "action",
    word: "type",
    key: "channel",
    filter: () => new Names("action", "channel"),
    isGreeting: ({ type }) => type === "connection_id",
    leftChannel: ({ type, reason, channel }) => leftIf(type === "unsubscribe_succeeded", reason, channel),
  },
  rooms: {
    path: "api/v1/ws",
    verb: "type",
    word: "type",
    key: "room_id",
    home: "user:",
    filter: () => new Names("type", "room_id"),
    isGreeting: ({ type, event }) => type === "connection" && event === "connected",
    leftChannel: ({ type, event, reason, room_id }) =>
      leftIf(type === "subscription" && event === "unsubscribed", reason, room_id),
  },
  workspaces: {
    path: "ws",
    verb: "type",
    word: "event",
    key: "channel",
    home: "workspace:",
    hasFilter: true,
    filter: () => new EventTypes(),
    isGreeting: ({ event }) => event === "connected",
    leftChannel: () => null,
  },
  jobs: {
    path: "ws",
    verb: "type",
    word: "type",
    key: "channel",
    home: "botrix:jobs:updates",
    hasFilter: true,
    filter: () => new Jobs(),
    isGreeting: null,
    leftChannel: () => null,
  },
};

/** The channel from which the server has unsubscribed this client without a request; only then there is a reason. */
function leftIf(isUnsubscribed, reason, channel) {
  return isUnsubscribed && reason !== undefined ? (channel ?? null) : null;
}
