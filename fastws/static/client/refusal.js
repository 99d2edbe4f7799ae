/** Why the server refused an upgrade. Browsers report 1006 without a reason, so the client asks over HTTP. */

import { FastWSError } from "./errors.js";
import { within } from "./promises.js";

const WOULD_ADMIT =
  "the attempt failed, but the server would admit this client: check that every proxy in between forwards WebSocket " +
  "upgrades, and whether the server's event hook refuses this client";

/** Asks once for each token until a connection opens. Nobody answering does not count. */
export class RefusalReasons {
  #answeredFor; // the token of the last answer
  #asking = null;

  /** The error with which the server refuses the upgrade of `link`; null if it was asked before or does not answer. */
  async ask({ url, protocols, token }, seconds) {
    if (this.#asking || token === this.#answeredFor || typeof fetch !== "function") return null;
    const asking = (this.#asking = new AbortController());
    const { signal } = asking;
    try {
      // Text without further headers, so that pages of other origins may send it without asking first.
      const asked = fetch(url.replace(/^ws/, "http"), { method: "POST", body: JSON.stringify({ protocols }), signal });
      const error = await within(seconds, asked.then(errorIn));
      if (signal.aborted) return null;
      this.#answeredFor = token;
      return error;
    } catch {
      return null; // nobody answers, which the next attempt will show
    } finally {
      asking.abort();
      if (this.#asking === asking) this.#asking = null;
    }
  }

  /** A connection has opened, or the client has ended: drop what was asked and answered. */
  forget() {
    this.#asking?.abort();
    this.#asking = null;
    this.#answeredFor = undefined;
  }
}

/** The error in the server's answer; null in an answer of something else, such as a proxy's page. */
async function errorIn(answer) {
  if (answer.status === 204) return new FastWSError("refused", WOULD_ADMIT);
  const text = await answer.text();
  try {
    const { code, message } = JSON.parse(text).error;
    return typeof code === "string" ? new FastWSError(code, message) : null;
  } catch {
    return null;
  }
}
