/** A React hook for presence: the members of a channel. */

import { useEffect, useRef, useState } from "react";
import { useChannel } from "./react_channels.js";
import { warn } from "./react_provider.js";

const NOBODY = { count: 0, users: 0, members: [] };
const MOST_MEMBERS = 1000;

/** `presence` after `update`, with at most `limit` members. */
function updated(presence, { joined, left, count, users }, limit) {
  const changed = new Set([...left, ...joined].map((member) => member.connection_id));
  const stayed = presence.members.filter((member) => !changed.has(member.connection_id));
  return { count, users, members: [...stayed, ...joined].slice(0, limit) };
}

async function presenceOf(client, channel, limit) {
  const page = await client.presence(channel, { limit });
  return { count: page.count, users: page.users, members: page.members ?? [] };
}

/** The members of a channel, at most `limit`. Without `presence_updates` they stay those of the start. */
export function usePresence(channel, { limit = MOST_MEMBERS, ...options } = {}) {
  const [presence, setPresence] = useState(NOBODY);
  const client = useRef(null);
  const meanwhile = useRef(null); // the updates since the members were asked for; null: nothing is asked

  const load = async (joined) => {
    client.current = joined;
    const updates = (meanwhile.current = []);
    try {
      const page = await presenceOf(joined, channel, limit);
      if (meanwhile.current !== updates) return; // asked again, or another channel
      meanwhile.current = null;
      setPresence(updates.reduce((before, update) => updated(before, update, limit), page));
    } catch (error) {
      if (meanwhile.current !== updates) return;
      meanwhile.current = null;
      // After a lost connection the members are asked for again.
      if (error.code !== "closed" && error.code !== "connection_lost") (options.onError ?? warn)(error);
    }
  };
  const onPresence = (update) => {
    meanwhile.current?.push(update);
    setPresence((before) => updated(before, update, limit));
    // Above the limit the list is not complete anyway.
    if (update.partial && update.count <= limit) load(client.current);
  };
  // The server dropped messages, perhaps updates.
  const onLag = () => client.current && load(client.current);
  const { connectionStatus } = useChannel(channel, undefined, { ...options, onPresence, onLag, onJoined: load });

  useEffect(
    () => () => {
      meanwhile.current = null;
      setPresence(NOBODY);
    },
    [channel],
  );
  return { ...presence, connectionStatus };
}
