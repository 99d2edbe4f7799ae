/** React over fastws.js: https://…/client/react.js. React itself is imported as "react" (18 or later). */

import type { ReactElement, ReactNode } from "react";
import type {
  FastWSError,
  Format,
  Gap,
  Heard,
  Lag,
  Member,
  Message,
  SendOptions,
  Sent,
  Status,
  TokenReason,
} from "./fastws.js";

export interface ConnectionSettings {
  /** Default: the server that this file was loaded from. */
  url?: string;
  /** Nothing is opened while there is neither `token` nor `getToken`. A new token of the same user keeps the connection. */
  token?: string | null;
  getToken?: (why: { reason: TokenReason }) => string | null | Promise<string | null>;
  format?: Format;
  auth?: "subprotocol" | "query";
  /**
   * Subscribes the connections to the mailbox of this client: `client:{sub}:{clientId}`, without a token
   * `client:{clientId}`. Its messages go to `onMessage` of `useWebSocket`, and of `useChannel` with that channel.
   */
  clientId?: string;
  /** Default: the token's own. */
  workspaceId?: string;
}

/** Settings for everything within. Components of one workspace and user share a connection. */
export function WebSocketProvider(props: ConnectionSettings & { children?: ReactNode }): ReactElement;

export interface UseWebSocketOptions extends ConnectionSettings {
  /** Default: true. */
  autoReconnect?: boolean;
  /** Default: never give up. */
  maxReconnectAttempts?: number;
  /** The event types to subscribe to at the start. Default: every event of the workspace. */
  eventTypes?: string[];
  /** `event.data` is the text of the message, `event.message` the message itself. */
  onMessage?: (event: Heard) => void;
  /** Something may have been missed: fetch the state again. */
  onGap?: (gap: Gap) => void;
  onLag?: (lag: Lag) => void;
  onError?: (error: FastWSError) => void;
}

export interface UseWebSocketResult {
  connectionStatus: Status;
  /** Sends as it is; returns whether there was a connection. */
  sendMessage(message: Message | string): boolean;
  /** Before the first `subscribe` all event types arrive, then only those named (`"*"`: all again). */
  subscribe(eventTypes: string | string[]): Promise<unknown>;
  unsubscribe(eventTypes: string | string[]): Promise<unknown>;
  /** The workspace's last metrics of that type. */
  requestMetrics(metricType?: string): Promise<any>;
}

export function useWebSocket(options?: UseWebSocketOptions): UseWebSocketResult;

export interface ExecutionStatus {
  execution_id: string;
  status: string;
  progress_percentage?: number;
  completed_nodes?: number;
  total_nodes?: number;
  current_node?: string;
  [key: string]: any;
}

export interface UseWorkflowOptions extends Omit<ConnectionSettings, "workspaceId" | "token"> {
  onGap?: (gap: Gap) => void;
  onError?: (error: FastWSError) => void;
}

/** The last update of one execution (null before the first), and whether the connection is there. */
export function useWorkflowWebSocket(
  token: string | null | undefined,
  executionId: string | null | undefined,
  options?: UseWorkflowOptions,
): { executionStatus: ExecutionStatus | null; isConnected: boolean };

/** `<section class="fastws-executions" data-status>` with a `dl` of figures and an `ol` of the latest executions. */
export function LiveExecutionCounter(props: ConnectionSettings & { limit?: number; className?: string }): ReactElement;

/** `<section class="fastws-metrics" data-status>` with a `dl`; `labels` puts other words for the names of metrics. */
export function RealtimeMetrics(
  props: ConnectionSettings & { metricType?: string; labels?: Record<string, string>; className?: string },
): ReactElement;

export interface UseChannelOptions extends Omit<ConnectionSettings, "workspaceId"> {
  /** Begin with this many messages of the channel's history, oldest first. Default: none. */
  history?: number;
  /** Messages were missed: load the state again. */
  onGap?: (gap: Gap) => void;
  onLag?: (lag: Lag) => void;
  onError?: (error: FastWSError) => void;
}

/**
 * The messages of a channel, in order and each once, also after a lost connection where the channel has a history.
 * Components of one provider and user share a connection. Nothing is subscribed while `channel` is empty.
 */
export function useChannel(
  channel: string | null | undefined,
  onMessage: (message: Message) => void,
  options?: UseChannelOptions,
): {
  connectionStatus: Status;
  send(event: string, data?: unknown, more?: SendOptions): Promise<Sent>;
};

export interface UseTypingOptions extends Omit<UseChannelOptions, "history"> {
  /** Shown to the others, for example a name. */
  name?: unknown;
  /** After this time without a key a person is no longer shown. Default: 5. */
  seconds?: number;
}

/**
 * The people typing in a channel. The hook publishes there with `ephemeral`, at most every 2 s, so the client needs the
 * permission to publish.
 */
export function useTyping(
  channel: string | null | undefined,
  options?: UseTypingOptions,
): {
  /** Without the person itself. `id` is the id of their connection. */
  people: { id: string; name: any }[];
  /** Call it at each key. */
  typing(): void;
  /** Call it when the text was sent or removed. */
  stopped(): void;
};

export interface UsePresenceOptions extends Omit<ConnectionSettings, "workspaceId"> {
  /** The most members to list, 1 to 1000. Default: 1000. The figures count all. */
  limit?: number;
  onError?: (error: FastWSError) => void;
}

/**
 * The members of a channel, this client included. The server needs `presence` for the channel, and `presence_updates` for the list
 * to change; otherwise it stays as it was at the start. It shares the connection of `useChannel`.
 */
export function usePresence(
  channel: string | null | undefined,
  options?: UsePresenceOptions,
): {
  connectionStatus: Status;
  /** Connections, and distinct users among them. */
  count: number;
  users: number;
  /** Empty in a channel that shows only figures. */
  members: Member[];
  /**
   * Whether `members` lists all members. False with more than `limit`: then only the figures are exact, and `members` lists
   * some of them, or is empty after an update with more than 100 changes.
   */
  isComplete: boolean;
};
