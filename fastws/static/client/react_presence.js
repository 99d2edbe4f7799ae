/** A React hook for presence: the members of a channel. */

import { useEffect, useRef, useState } from "react";
import { MemberList, NOBODY } from "./members.js";
import { useChannel } from "./react_channels.js";
import { warn } from "./react_provider.js";

const MOST_MEMBERS = 1000;
const LOST = ["closed", "connection_lost"]; // the members are asked for again when there is a connection

/** The members of a channel, at most `limit`. Without `presence_updates` they stay those of the start. */
export function usePresence(channel, { limit = MOST_MEMBERS, ...options } = {}) {
  const [presence, setPresence] = useState(NOBODY);
  const client = useRef(null);
  const list = useRef(null); // null: another channel, or nothing was asked yet

  const load = async (joined) => {
    client.current = joined;
    const known = (list.current ??= new MemberList(limit));
    known.limit = limit;
    const request = known.ask();
    let asksAgain = false;
    try {
      asksAgain = known.answered(request, await joined.presence(channel, { limit }));
    } catch (error) {
      const isLost = LOST.includes(error.code);
      if (known.failed(request, isLost) && known === list.current && !isLost) (options.onError ?? warn)(error);
    }
    if (known !== list.current) return;
    setPresence(known.shown);
    if (asksAgain) load(joined);
  };
  const onPresence = (update) => {
    const known = list.current;
    if (known === null) return;
    const asks = known.update(update);
    setPresence(known.shown);
    if (asks) load(client.current);
  };
  // The server dropped messages, perhaps updates.
  const onLag = () => client.current && load(client.current);
  const { connectionStatus } = useChannel(channel, undefined, { ...options, onPresence, onLag, onJoined: load });

  useEffect(
    () => () => {
      list.current = null;
      setPresence(NOBODY);
    },
    [channel],
  );
  return { ...presence, connectionStatus };
}
