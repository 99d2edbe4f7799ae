/** The settings of the provider, and connections for several components. */

import { createContext, createElement, useEffect, useMemo, useRef, useState } from "react";

// An effect that is cleaned up and run again at once (StrictMode, a re-render) keeps its connection.
export const LINGER_MS = 250;

/** Connections that components share: one for all with the same settings and user. */
class Pool {
  #connections = new Map();

  /** The connection of `key`, which `member` joins. A new one is `create(ended)`; it calls `ended` when it closes. */
  join(key, create, member) {
    let shared = this.#connections.get(key);
    if (!shared) {
      shared = create(() => this.#connections.delete(key));
      this.#connections.set(key, shared);
    }
    shared.join(member);
    return shared;
  }
}

export const Surroundings = createContext({ settings: {}, pool: new Pool() });

/** Settings for the hooks and components within, see react.d.ts. */
export function WebSocketProvider({ children, url, token, getToken, format, auth, clientId, workspaceId }) {
  const [pool] = useState(() => new Pool());
  const surroundings = useMemo(
    () => ({ pool, settings: given({ url, token, getToken, format, auth, clientId, workspaceId }) }),
    [pool, url, token, getToken, format, auth, clientId, workspaceId],
  );
  return createElement(Surroundings.Provider, { value: surroundings }, children);
}

export function hasEnded({ status }) {
  return status === "disconnected" || status === "refused";
}

/** The user of a JWT: another one is another connection, a new token of the same one is not. */
export function userOf(token) {
  if (!token) return null;
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).sub ?? token;
  } catch {
    return token; // not a JWT: each token is a user of its own
  }
}

export function warn(error) {
  console.warn("fastws:", error.message);
}

/** The given values without the undefined ones, so that those get their defaults. */
export function given(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

export function useLatest(value) {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}
