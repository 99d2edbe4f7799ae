"use client";
/**
 * React hooks and components over fastws.js: live workflows, workspaces and their metrics.
 *
 *     <WebSocketProvider url="wss://live.example.com" token={token}>
 *       <LiveExecutionCounter workspaceId="workspace-123" />
 *     </WebSocketProvider>
 *
 * React is imported as "react": by a bundler, or by an import map of the page. Types: react.d.ts next to this file.
 */

import { createElement, useCallback, useContext, useEffect, useReducer, useRef, useState } from "react";
import { connect } from "./fastws.js";
import { LINGER_MS, Surroundings, WebSocketProvider, given, hasEnded, useLatest, userOf, warn } from "./react_provider.js";

export { useChannel, useTyping } from "./react_channels.js";
export { usePresence } from "./react_presence.js";
export { WebSocketProvider };

const RECENT = 5;

/** One client in the workspaces dialect. The server sends what any member wants; each member gets what it wants. */
class SharedConnection {
  #settings;
  #members = new Set();
  #ended;
  #linger;
  // The event types asked for; null: all, as it is until the first `subscribe`.
  #types = null;

  constructor(settings, ended) {
    this.#settings = settings;
    this.#ended = ended;
    this.#open();
  }

  join(member) {
    clearTimeout(this.#linger);
    this.#members.add(member);
    member.setStatus(this.client.status);
    this.narrow();
  }

  leave(member) {
    this.#members.delete(member);
    if (this.#members.size) this.narrow();
    else this.#linger = setTimeout(() => this.#close(), LINGER_MS);
  }

  /** A newer token of the same user: the connection stays, or comes back if the old one had run out. */
  useToken(token) {
    if (token === this.#settings.token) return;
    this.#settings = { ...this.#settings, token };
    if (hasEnded(this.client)) this.#open();
    else this.client.refresh(token).catch((error) => this.#tell("onError", error));
  }

  /** Ask the server for what the members want together: first for more, then for less, so that nothing is missed. */
  narrow() {
    const wishes = [...this.#members].map((member) => member.wish);
    const union = wishes.every((wish) => wish.only) ? new Set(wishes.flatMap((wish) => [...wish.only])) : null;
    const before = this.#types;
    this.#types = union;
    if (union === null) return before === null ? Promise.resolve() : this.#say("subscribe", ["*"]);
    const more = [...union].filter((type) => !before?.has(type));
    const less = [...(before ?? [])].filter((type) => !union.has(type));
    return Promise.all([
      before === null || more.length ? this.#say("subscribe", more) : null,
      less.length ? this.#say("unsubscribe", less) : null,
    ]);
  }

  #say(word, types) {
    return this.client[word](types).catch((error) => {
      if (error.code !== "closed") this.#tell("onError", error);
    });
  }

  #open() {
    this.#types = null;
    this.client = connect({
      ...this.#settings,
      dialect: "workspaces",
      onMessage: (message, event) => {
        const isWanted = ({ wish }) => isOfMailbox(message) || wants(wish, message.event);
        this.#members.forEach((member) => isWanted(member) && member.tell("onMessage", event));
      },
      onStatus: ({ status }) => this.#members.forEach((member) => member.setStatus(status)),
      onGap: (gap) => this.#tell("onGap", gap),
      onLag: (lag) => this.#tell("onLag", lag),
      onError: (error) => this.#tell("onError", error),
    });
    if (this.#members.size) this.narrow();
  }

  #close() {
    this.#ended();
    this.client.close();
  }

  #tell(name, value) {
    const heard = [...this.#members].map((member) => member.tell(name, value));
    if (name === "onError" && !heard.includes(true)) warn(value);
  }
}

/** Messages to the mailbox of `clientId` name it; no filter applies to them. */
function isOfMailbox({ channel }) {
  return typeof channel === "string" && channel.startsWith("client:");
}

/** `only` the named event types, or with `only` null all `except` the named. */
function wants({ only, except }, type) {
  return only ? only.has(type) : !except.has(type);
}

function widen({ only, except }, types) {
  if (types.includes("*")) return { only: null, except: new Set() };
  if (only || !except.size) return { only: new Set([...(only ?? []), ...types]), except };
  return { only: null, except: new Set([...except].filter((type) => !types.includes(type))) };
}

function narrowed({ only, except }, types) {
  if (types.includes("*")) return { only: new Set(), except: new Set() };
  if (only) return { only: new Set([...only].filter((type) => !types.includes(type))), except };
  return { only: null, except: new Set([...except, ...types]) };
}

/** A workspace's events. Nothing is opened before there is a token. See react.d.ts. */
export function useWebSocket(options = {}) {
  const { settings, pool } = useContext(Surroundings);
  const all = { autoReconnect: true, ...settings, ...given(options) };
  const { url, token, getToken, format, auth, clientId, workspaceId, autoReconnect, maxReconnectAttempts } = all;
  const [status, setStatus] = useState("disconnected");
  const latest = useLatest(all);
  const shared = useRef(null);
  const [member] = useState(() => ({
    wish: { only: all.eventTypes ? new Set(all.eventTypes) : null, except: new Set() },
    // Returns whether anybody listens.
    tell: (name, value) => Boolean(latest.current[name]) && (latest.current[name](value), true),
    setStatus,
  }));
  const mayConnect = Boolean(token || getToken);
  const named = [url, format, auth, clientId, workspaceId, autoReconnect, maxReconnectAttempts];
  const key = JSON.stringify([...named, userOf(token)]);

  useEffect(() => {
    if (!mayConnect) return undefined;
    const ask = latest.current.getToken && ((why) => latest.current.getToken(why));
    const asked = { url, format, auth, clientId, workspaceId, maxReconnectAttempts, getToken: ask };
    const opened = given({ ...asked, token: latest.current.token, reconnect: autoReconnect });
    const joined = pool.join(key, (ended) => new SharedConnection(opened, ended), member);
    shared.current = joined;
    return () => {
      shared.current = null;
      joined.leave(member);
      setStatus("disconnected");
    };
    // `key` stands for every setting that makes it another connection.
  }, [pool, key, mayConnect, member]);

  useEffect(() => {
    if (token) shared.current?.useToken(token);
  }, [token]);

  return { connectionStatus: status, ...useActions(shared, member) };
}

/** The functions that useWebSocket returns, the same ones on every render. */
function useActions(shared, member) {
  const sendMessage = useCallback((message) => {
    const client = shared.current?.client;
    return client ? client.post(typeof message === "string" ? JSON.parse(message) : message) : false;
  }, []);
  const change = useCallback(
    (how, types) => {
      member.wish = how(member.wish, [types].flat());
      return shared.current?.narrow() ?? Promise.resolve();
    },
    [member],
  );
  const subscribe = useCallback((types) => change(widen, types), [change]);
  const unsubscribe = useCallback((types) => change(narrowed, types), [change]);
  const requestMetrics = useCallback(async (type) => shared.current?.client.requestMetrics(type), []);
  return { sendMessage, subscribe, unsubscribe, requestMetrics };
}

/** The last update of one execution, over a connection of its own: updates do not say which room they came from. */
export function useWorkflowWebSocket(token, executionId, options = {}) {
  const { settings } = useContext(Surroundings);
  const { url, format, auth, clientId, getToken } = { ...settings, ...given(options) };
  const [executionStatus, setExecutionStatus] = useState(null);
  const [isConnected, setIsConnected] = useState(false);
  const [generation, startAnew] = useReducer((number) => number + 1, 0);
  const latest = useLatest({ ...options, token, getToken });
  const client = useRef(null);
  const mayConnect = Boolean((token || getToken) && executionId);

  useEffect(() => setExecutionStatus(null), [executionId]);

  useEffect(() => {
    if (!mayConnect) return undefined;
    const opened = openRoom({ url, format, auth, clientId }, executionId, latest, {
      onMessage: (message) => isAbout(message, executionId) && setExecutionStatus(message.data),
      onStatus: ({ status }) => setIsConnected(status === "connected"),
    });
    client.current = opened;
    return () => {
      client.current = null;
      opened.close();
      setIsConnected(false);
    };
  }, [url, format, auth, clientId, mayConnect, userOf(token), executionId, generation]);

  useEffect(() => {
    if (!token || !client.current) return;
    if (hasEnded(client.current)) startAnew();
    else client.current.refresh(token).catch(startAnew); // perhaps another user's: then connect as that one
  }, [token]);

  return { executionStatus, isConnected };
}

/** A client in the room of one execution. */
function openRoom(settings, executionId, latest, listeners) {
  const ask = latest.current.getToken && ((why) => latest.current.getToken(why));
  return connect({
    ...given({ ...settings, getToken: ask }),
    dialect: "rooms",
    token: latest.current.token ?? null,
    channels: [`execution:${executionId}`],
    ...listeners,
    onGap: (gap) => latest.current.onGap?.(gap),
    onError: (error) => (latest.current.onError ?? warn)(error),
  });
}

function isAbout({ type, data }, executionId) {
  return type === "execution_update" && (data?.execution_id ?? executionId) === executionId;
}

/** How many executions run now, how many began and ended since it is shown, and the latest of them. */
export function LiveExecutionCounter({ workspaceId, limit = RECENT, className = "", ...settings }) {
  const [state, count] = useReducer(counted, { running: [], started: 0, completed: 0, failed: 0, recent: [] });
  const { connectionStatus } = useWebSocket({
    ...settings,
    workspaceId,
    eventTypes: ["execution_started", "execution_completed"],
    onMessage: ({ message }) => count(message),
  });
  const figures = {
    running: state.running.length,
    started: state.started,
    completed: state.completed,
    failed: state.failed,
  };
  return createElement(
    "section",
    { className: `fastws-executions ${className}`.trim(), "aria-label": "Executions", "data-status": connectionStatus },
    createElement("div", { role: "status" }, createElement("dl", null, Object.entries(figures).map(figure))),
    createElement("ol", { "aria-label": "Recent executions" }, state.recent.slice(0, limit).map(activity)),
  );
}

function counted(state, { event, data = {}, timestamp }) {
  const isStart = event === "execution_started";
  if (!isStart && event !== "execution_completed") return state;
  const outcome = isStart ? "started" : data.success === false ? "failed" : "completed";
  const others = state.running.filter((run) => run !== data.run_id);
  const entry = { outcome, run: data.run_id, agent: data.agent_id, timestamp };
  return {
    ...state,
    running: isStart ? [...others, data.run_id] : others,
    [outcome]: state[outcome] + 1,
    recent: [{ ...entry, number: state.started + state.completed + state.failed }, ...state.recent].slice(0, 100),
  };
}

function activity({ number, outcome, run, agent, timestamp }) {
  const text = [agent, run].filter(Boolean).join(" · ");
  return createElement(
    "li",
    { key: number, "data-outcome": outcome },
    `${outcome} ${text} `,
    createElement("time", { dateTime: timestamp }, shownTime(timestamp)),
  );
}

/** The workspace's latest metrics, asked for at the start and after each reconnect, then as they come. */
export function RealtimeMetrics({ workspaceId, metricType, labels = {}, className = "", ...settings }) {
  const [metrics, setMetrics] = useState({});
  const { connectionStatus, requestMetrics } = useWebSocket({
    ...settings,
    workspaceId,
    eventTypes: ["metrics_update"],
    onMessage: ({ message: { event, data } }) => {
      if (event !== "metrics_update" || (metricType && data?.metric_type && data.metric_type !== metricType)) return;
      setMetrics((known) => ({ ...known, ...data }));
    },
  });
  useEffect(() => {
    if (connectionStatus !== "connected") return;
    requestMetrics(metricType).then(
      (data) => setMetrics((known) => ({ ...known, ...data })),
      (error) => error.code === "closed" || warn(error),
    );
  }, [connectionStatus, metricType, requestMetrics]);
  const shown = Object.entries(metrics).filter(([name, value]) => name !== "metric_type" && typeof value !== "object");
  return createElement(
    "section",
    { className: `fastws-metrics ${className}`.trim(), "aria-label": "Metrics", "data-status": connectionStatus },
    createElement(
      "dl",
      null,
      shown.map(([name, value]) => figure([labels[name] ?? name.replace(/_/g, " "), value])),
    ),
  );
}

function figure([name, value]) {
  return createElement(
    "div",
    { key: name },
    createElement("dt", null, name),
    createElement("dd", null, shownValue(value)),
  );
}

function shownValue(value) {
  return typeof value === "number" ? value.toLocaleString(undefined, { maximumFractionDigits: 2 }) : String(value);
}

function shownTime(timestamp) {
  const moment = new Date(timestamp);
  return Number.isNaN(moment.getTime()) ? "" : moment.toLocaleTimeString();
}
