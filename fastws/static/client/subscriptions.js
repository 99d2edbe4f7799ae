/** The calls of subscribe and unsubscribe, over as many connections as it takes. */

import { deferred } from "./promises.js";

const SUBSCRIBE_AGAIN_SECONDS = 5;

/**
 * What the application wants to hear. While connected, each change is sent at once, in the order of the calls. All
 * others wait for the next connection, which begins with a request for everything that is wanted by then: no change
 * is sent twice, and the last one said holds.
 */
export class Subscriptions {
  #filter;
  #report;
  #link = null;
  #changes = new Set(); // those without an outcome
  #ended = null;

  constructor(filter, report) {
    this.#filter = filter;
    this.#report = report;
  }

  add(wanted) {
    return this.#change(this.#filter.add(wanted));
  }

  remove(unwanted) {
    return this.#change(this.#filter.remove(unwanted));
  }

  /** The server has taken this client off `channel`. */
  left(channel) {
    this.#filter.left(channel);
  }

  /** Asks for everything that is wanted. Resolves when all of it is answered. */
  connected(link) {
    this.#link = link;
    const requests = this.#filter.restore();
    const waiting = [...this.#changes];
    const answered = requests.map((request) => {
      const concerned = waiting.filter((change) => this.#filter.isCovered(change.request, request));
      concerned.forEach((change) => waiting.splice(waiting.indexOf(change), 1));
      return this.#restore(link, request, concerned);
    });
    // What a later call has undone needs no request.
    waiting.forEach((change) => this.#settle(change));
    return Promise.all(answered);
  }

  lost() {
    this.#link = null;
  }

  ended(error) {
    this.#ended = error;
    this.#changes.forEach((change) => this.#settle(change, error));
  }

  #change(requests) {
    if (this.#ended) return Promise.reject(this.#ended);
    const changes = requests.map((request) => ({ request, outcome: deferred() }));
    for (const change of changes) {
      this.#changes.add(change);
      if (this.#link) this.#send(this.#link, change);
    }
    return Promise.all(changes.map((change) => change.outcome.promise));
  }

  async #send(link, change) {
    const error = await this.#ask(link, change.request);
    if (link === this.#link || !error) this.#settle(change, error);
  }

  async #restore(link, request, changes) {
    const error = await this.#ask(link, request, true);
    if (link !== this.#link) return;
    if (error && this.#filter.mayPass(request, error)) {
      this.#report(error);
      setTimeout(() => {
        if (link === this.#link && this.#filter.isWanted(request)) this.#restore(link, request, changes);
        else if (link === this.#link) changes.forEach((change) => this.#settle(change));
      }, SUBSCRIBE_AGAIN_SECONDS * 1000);
    } else {
      if (error && !changes.length) this.#report(error);
      changes.forEach((change) => this.#settle(change, error));
    }
  }

  /** The error that the server answers with, null if there is none. */
  async #ask(link, request, isRestored = false) {
    try {
      await link.request(request);
      this.#filter.confirmed(request);
      return null;
    } catch (error) {
      if (link !== this.#link || error.code === "connection_lost") return error;
      // A request that was sent and not answered in time is very likely carried out.
      if (error.code === "timeout") this.#filter.confirmed(request);
      else if (!isRestored || !this.#filter.mayPass(request, error)) this.#filter.refused(request, error);
      return error;
    }
  }

  #settle(change, error = null) {
    this.#changes.delete(change);
    if (error) change.outcome.reject(error);
    else change.outcome.resolve();
  }
}
