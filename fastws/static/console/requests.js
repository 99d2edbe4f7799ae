/** Requests of the operator: with the broadcast key. */

import { HOME } from "./connection.js";
import { byId } from "./elements.js";

export class Requests {
  #key;

  /** `key()` returns the broadcast key, or "". */
  constructor(key) {
    this.#key = key;
  }

  /** Return the response to GET `path`, or null after showing the error in the element `note`. */
  async get(note, path, query) {
    if (!this.#key()) {
      byId(note).textContent = "enter the broadcast key under Operator";
      return null;
    }
    const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== "");
    try {
      const response = await this.send(`${path}?${new URLSearchParams(wanted)}`);
      const answer = await response.json();
      if (!answer.error) return answer;
      byId(note).textContent = response.status === 401 ? "invalid broadcast key" : answer.error.message;
    } catch (error) {
      byId(note).textContent = error.message;
    }
    return null;
  }

  send(path, method = "GET") {
    return fetch(new URL(path, HOME), {
      method,
      cache: "no-store",
      headers: { Authorization: `Bearer ${this.#key()}` },
    });
  }
}
