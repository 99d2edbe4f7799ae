/** The token of a client: where it comes from, when it expires, and when to replace it. */

import { within } from "./promises.js";

const REFRESH_AHEAD_SECONDS = 60;
// It may have to wait for a user who logs in.
const GET_TOKEN_SECONDS = 120;

/** The token to connect with, from `getToken` if there is one. At most one call of it runs at a time. */
export class Tokens {
  isRefused = false;
  #getToken;
  #asking = null;

  constructor({ token, getToken }) {
    this.token = token ?? null;
    this.#getToken = getToken;
  }

  async current() {
    if (!this.#getToken) return this.token;
    const reason = this.isRefused ? "refused" : this.token === null ? "start" : "expiring";
    if (reason === "expiring" && expiryOf(this.token) * 1000 > Date.now() + 5000) return this.token;
    return this.ask(reason);
  }

  ask(reason) {
    this.#asking ??= within(GET_TOKEN_SECONDS, this.#ask(reason), "getToken gave no token").finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #ask(reason) {
    const before = this.token;
    const token = (await this.#getToken({ reason })) ?? null;
    // `refresh` may have set a newer one in the meantime.
    if (this.token === before) this.token = token;
    this.isRefused = false;
    return this.token;
  }
}

/** Seconds until a token that expires at `expires` should be replaced. */
export function secondsToRefresh(expires) {
  const seconds = expires - Date.now() / 1000;
  return Math.max(seconds - Math.min(REFRESH_AHEAD_SECONDS, seconds / 4), 0);
}

/** The `exp` of a JWT in seconds since the epoch; NaN if it cannot be read: the server closes with 4401 then. */
export function expiryOf(token) {
  const expires = claimOf(token, "exp");
  return typeof expires === "number" ? expires : NaN;
}

/** A claim of a JWT; null if there is none or it cannot be read. */
export function claimOf(token, claim) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")))[claim] ?? null;
  } catch {
    return null;
  }
}
