/** Subscribe and unsubscribe calls, followed over reconnects until each has its outcome. */

import { deferred } from "./promises.js";

const SUBSCRIBE_AGAIN_SECONDS = 5;

/**
 * While connected, each change is sent at once, in the order of the calls. Otherwise it waits for the next connection,
 * which starts with requests for everything that is wanted by then. No change is sent twice, and the last of several
 * for one name wins.
 */
export class Subscriptions {
  #filter;
  #report;
  #fieldsOf;
  #link = null;
  #changes = new Set(); // without an outcome yet
  #retries = new Set();
  #ended = null;

  /** `fieldsOf(request)` are further keys to send with a request. */
  constructor(filter, report, fieldsOf) {
    this.#filter = filter;
    this.#report = report;
    this.#fieldsOf = fieldsOf;
  }

  add(wanted) {
    return this.#change(this.#filter.add(wanted));
  }

  remove(unwanted) {
    return this.#change(this.#filter.remove(unwanted));
  }

  /** The server has unsubscribed this client from `channel`. */
  left(channel) {
    this.#filter.left(channel);
  }

  /** Sends requests for everything that is wanted. Resolves when all of them are answered. */
  connected(link) {
    this.#link = link;
    const requests = this.#filter.restore();
    const waiting = [...this.#changes];
    const answered = requests.map((request) => {
      const concerned = waiting.filter((change) => this.#filter.isCovered(change.request, request));
      concerned.forEach((change) => waiting.splice(waiting.indexOf(change), 1));
      return this.#restore(link, request, concerned);
    });
    // Later calls have undone these.
    waiting.forEach((change) => this.#settle(change));
    return Promise.all(answered);
  }

  lost() {
    this.#link = null;
    this.#retries.forEach(clearTimeout);
    this.#retries.clear();
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
      this.#restoreLater(link, request, changes);
    } else {
      if (error && !changes.length) this.#report(error);
      changes.forEach((change) => this.#settle(change, error));
    }
  }

  #restoreLater(link, request, changes) {
    const timer = setTimeout(() => {
      this.#retries.delete(timer);
      if (this.#filter.isWanted(request)) this.#restore(link, request, changes);
      else changes.forEach((change) => this.#settle(change));
    }, SUBSCRIBE_AGAIN_SECONDS * 1000);
    this.#retries.add(timer);
  }

  /** The error that the server answers with, null if there is none. */
  async #ask(link, request, isRestored = false) {
    try {
      await link.request(request, this.#fieldsOf(request));
      this.#filter.confirmed(request);
      return null;
    } catch (error) {
      const isAnswer = link === this.#link && error.code !== "connection_lost" && error.code !== "timeout";
      if (isAnswer && !(isRestored && this.#filter.mayPass(request, error))) this.#filter.refused(request, error);
      return error;
    }
  }

  #settle(change, error = null) {
    this.#changes.delete(change);
    if (error) change.outcome.reject(error);
    else change.outcome.resolve();
  }
}
