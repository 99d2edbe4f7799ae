/** A connection that is opened again whenever it is lost. */

import { addressOf } from "./address.js";
import { NORMAL, SPREAD_CODES, UNAUTHORIZED, reconnectDelay } from "./backoff.js";
import { CODECS } from "./codecs.js";
import { FastWSError, asError } from "./errors.js";
import { Link } from "./link.js";
import { deferred, within } from "./promises.js";
import { RefusalReasons } from "./refusal.js";
import { Tokens, expiryOf, secondsToRefresh } from "./tokens.js";

// A connection that has lasted this long resets the backoff.
const STABLE_SECONDS = 5;
const RENEW_AGAIN_SECONDS = 5;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
// Errors after which another attempt with the same token would be refused again, and the close codes that mean the same.
const FINAL_REFUSALS = { unauthorized: UNAUTHORIZED, forbidden: 4403 };

/** Has at most one link at any time. `hooks` are called with everything that happens on it. */
export class Connection {
  status = "connecting";
  id = null;
  link = null;
  #options;
  #dialect;
  #hooks;
  #tokens;
  #reasons = new RefusalReasons();
  #refusal = null; // { token, error }: the last final refusal
  #codec = null;
  #opened = deferred();
  #attempt = 0;
  #wasOpen = false;
  #timers = {};
  #lastCode = null;
  #online = () => this.#hurry();
  #visible = () => globalThis.document.visibilityState === "visible" && this.#probe();

  constructor(options, dialect, hooks) {
    this.#options = options;
    this.#dialect = dialect;
    this.#hooks = hooks;
    this.#tokens = new Tokens(options);
    globalThis.addEventListener?.("online", this.#online);
    globalThis.document?.addEventListener?.("visibilitychange", this.#visible);
    queueMicrotask(() => this.#open());
  }

  get ready() {
    return this.#opened.promise;
  }

  get #hasEnded() {
    return this.status === "disconnected" || this.status === "refused";
  }

  async refresh(token) {
    const isOther = token !== this.#tokens.token;
    this.#tokens.token = token;
    // A link that is still being opened is refreshed once it is connected.
    if (this.status === "connected" && isOther) await this.#refresh();
  }

  close(code, reason) {
    this.#end(new FastWSError("closed", "the client was closed"), { code, reason });
  }

  async #open() {
    if (this.#hasEnded) return;
    this.#clear();
    const link = new Link(this.#options, this.#dialect, {
      heard: this.#hooks.heard,
      greeted: (greeting) => this.#connected(greeting),
      lost: (code, reason, isRefusal) => this.#lost(code, reason, isRefusal),
      traffic: this.#hooks.traffic,
      failed: this.#hooks.error,
      answered: this.#hooks.answered,
    });
    this.link = link;
    this.#setStatus(this.#wasOpen || this.#attempt ? "reconnecting" : "connecting", { attempt: this.#attempt });
    try {
      const token = await this.#tokens.current();
      if (link.isOver || this.#isRefused(token)) return;
      this.#codec ??= await this.#loadCodec();
      if (link.isOver) return;
      link.open(...addressOf(this.#options, this.#dialect, token, this.#hooks.query(token)), { codec: this.#codec, token });
    } catch (error) {
      if (link.isOver) return;
      link.abandon();
      this.#hooks.error(asError(error));
      this.#lost(0, "", true);
    }
  }

  #loadCodec() {
    const { format, connectTimeout } = this.#options;
    return within(connectTimeout, CODECS[format](), `the codec of ${format} was not loaded`);
  }

  #connected(greeting) {
    const { link } = this;
    const isAgain = this.#wasOpen;
    this.#wasOpen = true;
    this.#reasons.forget();
    this.#refusal = null;
    this.id = greeting?.connection_id ?? null;
    this.#timers.stable = setTimeout(() => (this.#attempt = 0), STABLE_SECONDS * 1000);
    const subscribed = this.#hooks.greeted(link, greeting);
    if (link.token === this.#tokens.token) this.#watchExpiry(expiryOf(link.token));
    else this.#refresh().catch((error) => link.isOver || this.#hooks.error(error));
    this.#setStatus("connected", {});
    this.#opened.resolve(this.#hooks.client);
    subscribed.then(() => link.isOver || this.#hooks.restored(isAgain));
  }

  /** The link was lost: schedules the next attempt, or gives up. */
  #lost(code, reason, isRefusal) {
    this.#clear();
    const { reconnect, getToken, maxReconnectAttempts, firstDelay, longestDelay } = this.#options;
    const asked = isRefusal ? this.#findReason(this.link) : null;
    this.#detach();
    // Browsers report a refused upgrade as 1006 and hide the reason, which may be the token.
    this.#tokens.isRefused = code === UNAUTHORIZED || isRefusal;
    this.#lastCode = code;
    const attempt = this.#attempt++;
    const isFinal = code === NORMAL || (code === UNAUTHORIZED && !getToken) || (code >= 4000 && code !== UNAUTHORIZED);
    if (isFinal || !reconnect || attempt >= maxReconnectAttempts) {
      const why = reason || (attempt ? `${attempt} attempts to reconnect failed` : "the connection ended");
      const error = new FastWSError(code === UNAUTHORIZED ? "unauthorized" : "closed", why);
      if (asked) asked.then(() => this.#end(error, { code, reason }));
      else this.#end(error, { code, reason });
      return;
    }
    const delay = reconnectDelay(attempt, { code, reason, first: firstDelay, longest: longestDelay });
    this.#timers.reconnect = setTimeout(() => this.#open(), delay);
    this.#setStatus("reconnecting", { code, reason, delay, attempt: attempt + 1 });
  }

  /** The upgrade of `link` was refused: reports why, and stops if no other token is to be had. */
  async #findReason(link) {
    if (!link.url) return;
    const { token } = link;
    const error = await this.#reasons.ask(link, this.#options.connectTimeout);
    if (error === null) return;
    this.#hooks.error(error);
    if (!Object.hasOwn(FINAL_REFUSALS, error.code)) return;
    this.#refusal = { token, error };
    // `getToken` may have given another token to the attempt under way, or gives one to the next; otherwise `refresh` may.
    if (!this.#options.getToken) this.#isRefused(this.#tokens.token);
    else if (this.link?.url) this.#isRefused(this.link.token);
  }

  /** Whether the server has refused this token, and then ends the client. */
  #isRefused(token) {
    if (this.#refusal === null || this.#refusal.token !== token) return false;
    const { error } = this.#refusal;
    this.#end(error, { code: FINAL_REFUSALS[error.code], reason: error.message }, "refused");
    return true;
  }

  #detach() {
    const wasConnected = this.status === "connected";
    this.id = null;
    this.link = null;
    if (wasConnected) this.#opened = deferred();
    this.#hooks.lost();
  }

  /** The network is back: do not wait for an attempt or a delay that started before. */
  #hurry() {
    if (this.status === "connected") {
      this.#probe();
    } else if (this.link?.hasSocket) {
      this.link.abandon();
      this.#open();
    } else if (this.#timers.reconnect && !SPREAD_CODES.has(this.#lastCode)) {
      this.#open();
    }
  }

  #probe() {
    if (this.status === "connected") this.link.probe();
  }

  #end(error, detail, status = "disconnected") {
    if (this.#hasEnded) return;
    this.#clear();
    this.#reasons.forget();
    globalThis.removeEventListener?.("online", this.#online);
    globalThis.document?.removeEventListener?.("visibilitychange", this.#visible);
    this.link?.abandon(detail.code, detail.reason);
    this.#detach();
    this.#hooks.ended(error);
    this.#opened.reject(error);
    this.#opened = deferred();
    this.#opened.reject(error);
    this.#setStatus(status, detail);
    if (status === "disconnected" && error.code === "unauthorized") this.#hooks.error(error);
  }

  #clear() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
  }

  #setStatus(status, detail) {
    this.status = status;
    this.#hooks.status({ status, ...detail });
  }

  async #refresh() {
    const { link } = this;
    const { token } = this.#tokens;
    const reply = await link.request({ [this.#dialect.verb]: "refresh", token });
    link.token = token;
    if (!link.isOver) this.#watchExpiry(reply.expires);
  }

  #watchExpiry(expires) {
    clearTimeout(this.#timers.refresh);
    if (this.#options.getToken && Number.isFinite(expires)) this.#renewIn(secondsToRefresh(expires));
  }

  #renewIn(seconds) {
    const { link } = this;
    const renew = async () => {
      try {
        const token = await this.#tokens.ask("expiring");
        if (link.isOver) return;
        if (!token || token === link.token) throw new FastWSError("unauthorized", "getToken returned no new token");
        await this.#refresh();
      } catch (error) {
        if (link.isOver) return;
        this.#hooks.error(asError(error));
        this.#renewIn(RENEW_AGAIN_SECONDS);
      }
    };
    this.#timers.refresh = setTimeout(renew, Math.min(seconds * 1000, LONGEST_TIMER_MS));
  }
}
