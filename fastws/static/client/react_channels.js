/** React hooks for channels: their messages with the history before them, and the people typing. */

import { useCallback, useContext, useEffect, useRef, useState } from "react";
import { FastWSError, connect } from "./fastws.js";
import { LINGER_MS, Surroundings, given, hasEnded, useLatest, userOf, warn } from "./react_provider.js";

// The event of `useTyping`, which `useChannel` does not pass on.
const TYPING = "fastws:typing";
const TYPING_SECONDS = 5;
// The server subscribes the client to its mailbox, and to no other.
const MAILBOX_PREFIX = "client:";
// Typing is sent again this many times before it times out.
const REPEATS = 2.5;

/** One client in the channels dialect. The client is subscribed to every channel that has members. */
class ChannelConnection {
  #settings;
  #ended;
  #members = new Set();
  #linger;

  constructor(settings, ended) {
    this.#settings = settings;
    this.#ended = ended;
    this.#open();
  }

  join(member) {
    clearTimeout(this.#linger);
    this.#members.add(member);
    member.setStatus(this.client.status);
    member.begin(this.client);
  }

  leave(member) {
    this.#members.delete(member);
    member.isGone = true;
    // Not at once: an effect that is run again at once must miss nothing in between.
    setTimeout(() => this.#forget(member.channel), LINGER_MS);
    if (!this.#members.size) this.#linger = setTimeout(() => this.#close(), LINGER_MS);
  }

  /** A newer token of the same user: the connection stays, or comes back if the old one had run out. */
  useToken(token) {
    if (token === this.#settings.token) return;
    this.#settings = { ...this.#settings, token };
    if (!hasEnded(this.client)) this.client.refresh(token).catch((error) => this.#fail(error));
    else {
      this.#open();
      this.#members.forEach((member) => member.begin(this.client));
    }
  }

  #forget(channel) {
    if (!this.#of(channel).length && !isMailbox(channel)) this.client.unsubscribe(channel).catch(() => {}); // closed meanwhile
  }

  /** The members of `channel`; null: all. */
  #of(channel) {
    return [...this.#members].filter((member) => channel === null || member.channel === channel);
  }

  #open() {
    this.client = connect({
      ...this.#settings,
      onMessage: (message) => this.#of(message.channel).forEach((member) => member.hear(message)),
      onStatus: ({ status }) => this.#members.forEach((member) => member.setStatus(status)),
      onGap: (gap) => this.#of(gap.channel).forEach((member) => member.tell("onGap", gap)),
      onLag: (lag) => this.#of(lag.channel).forEach((member) => member.tell("onLag", lag)),
      onPresence: (update) => this.#of(update.channel).forEach((member) => member.tell("onPresence", update)),
      onReconnected: () => this.#members.forEach((member) => member.isSubscribed && member.tell("onJoined", this.client)),
      onError: (error) => this.#fail(error),
    });
  }

  #fail(error) {
    const heard = this.#of(error.channel).map((member) => member.tell("onError", error));
    if (!heard.includes(true)) warn(error);
  }

  #close() {
    this.#ended();
    this.client.close();
  }
}

function isMailbox(channel) {
  return channel.startsWith(MAILBOX_PREFIX);
}

/** One component that listens to a channel, at first to `history` messages of the past. `latest` has its functions. */
class Listener {
  #history;
  #latest;
  #waiting = []; // messages that arrive before the history; null after that
  isGone = false;
  isSubscribed = false;

  constructor({ channel, history }, latest, setStatus) {
    this.channel = channel;
    this.setStatus = setStatus;
    this.#history = history;
    this.#latest = latest;
  }

  /** Subscribes, then passes on the history, and then the messages that have arrived meanwhile. */
  async begin(client) {
    this.#waiting ??= [];
    const page = await this.#subscribe(client).catch((error) => this.#fail(error));
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    page?.messages.reverse().forEach((message) => this.#give(message));
    waiting.filter(({ offset }) => !(offset <= page?.offset)).forEach((message) => this.#give(message));
    this.#history = 0; // the client recovers all later messages
    if (this.isSubscribed) this.tell("onJoined", client);
  }

  async #subscribe(client) {
    await (isMailbox(this.channel) ? client.ready : client.subscribe(this.channel));
    this.isSubscribed = true;
    return this.#history ? this.#past(client) : null;
  }

  /** Asks again after a lost connection. */
  async #past(client) {
    const asked = { limit: this.#history, reverse: true };
    return client.history(this.channel, asked).catch((error) => {
      if (error.code !== "connection_lost" || this.isGone) throw error;
      return this.#past(client);
    });
  }

  #fail(error) {
    if (error.code !== "closed" && !this.isGone && !this.tell("onError", error)) warn(error);
  }

  hear(message) {
    if (this.#waiting) this.#waiting.push(message);
    else this.#give(message);
  }

  #give(message) {
    const isTyping = message.event === TYPING;
    this.tell(isTyping ? "onTyping" : "onMessage", message);
  }

  /** Returns whether anybody listens. */
  tell(name, value) {
    const listener = this.isGone ? null : this.#latest.current[name];
    listener?.(value);
    return Boolean(listener);
  }
}

/**
 * The messages of a channel, with `history` first that many of those before. Components of one provider share a
 * connection. After a lost connection nothing is missing, or `onGap` is called. See react.d.ts.
 */
export function useChannel(channel, onMessage, options = {}) {
  const { settings, pool } = useContext(Surroundings);
  const { history = 0, onTyping, onPresence, onJoined, onGap, onLag, onError, ...others } = given(options);
  const { url, format, auth, clientId, token, getToken } = { ...settings, ...others };
  const [connectionStatus, setStatus] = useState("disconnected");
  const latest = useLatest({ onMessage, onTyping, onPresence, onJoined, onGap, onLag, onError, token, getToken });
  const shared = useRef(null);
  const key = JSON.stringify(["channels", url, format, auth, clientId, userOf(token)]);

  useEffect(() => {
    if (!channel) return undefined;
    const ask = latest.current.getToken && ((why) => latest.current.getToken(why));
    const opened = given({ url, format, auth, clientId, token: latest.current.token, getToken: ask });
    const listener = new Listener({ channel, history }, latest, setStatus);
    const joined = pool.join(key, (ended) => new ChannelConnection(opened, ended), listener);
    shared.current = joined;
    return () => {
      shared.current = null;
      joined.leave(listener);
      setStatus("disconnected");
    };
    // `key` stands for every setting that makes it another connection; `history` counts at the start only.
  }, [pool, key, channel]);

  useEffect(() => {
    if (token) shared.current?.useToken(token);
  }, [token]);

  const send = useCallback(
    async (event, data, more) => {
      if (!shared.current) throw new FastWSError("closed", "the component is not connected to a channel");
      return shared.current.client.send(channel, event, data, more);
    },
    [channel],
  );
  return { connectionStatus, send };
}

/** The people typing in a channel, and the function to call at each key. The history keeps nothing of it. */
export function useTyping(channel, { name = null, seconds = TYPING_SECONDS, ...options } = {}) {
  const [people, setPeople] = useState([]); // { id, name, until }
  const sentAt = useRef(-Infinity);
  const gone = (id) => setPeople((now) => now.filter((each) => each.id !== id));
  const onTyping = ({ from: id, data }) => {
    gone(id);
    if (data?.isTyping === false) return;
    const until = performance.now() + seconds * 1000;
    setPeople((now) => [...now, { id, name: data?.name ?? null, until }]);
  };
  // The sender of a message has finished typing it.
  const { send } = useChannel(channel, ({ from }) => gone(from), { ...options, onTyping });

  useEffect(() => setPeople([]), [channel]);

  useEffect(() => {
    if (!people.length) return undefined;
    const next = Math.min(...people.map(({ until }) => until)) - performance.now();
    const timer = setTimeout(() => {
      setPeople((now) => now.filter(({ until }) => until > performance.now()));
    }, Math.max(next, 0) + 1);
    return () => clearTimeout(timer);
  }, [people]);

  const say = useCallback(
    (isTyping) => {
      sentAt.current = isTyping ? performance.now() : -Infinity;
      // If it fails, the next key sends again.
      send(TYPING, { name, isTyping }, { ephemeral: true, excludeSelf: true }).catch(() => {});
    },
    [send, name],
  );
  const typing = useCallback(() => {
    if (performance.now() - sentAt.current > (seconds * 1000) / REPEATS) say(true);
  }, [say, seconds]);
  const stopped = useCallback(() => {
    if (sentAt.current > -Infinity) say(false);
  }, [say]);
  return { people: people.map(({ id, name: theirs }) => ({ id, name: theirs })), typing, stopped };
}
