/** When a client reconnects after it has lost its connection. */

export const NORMAL = 1000;
export const RESTART = 1012;
export const UNAUTHORIZED = 4401;
// After these the server wants its clients to wait, even if their network has just come back.
export const SPREAD_CODES = new Set([RESTART, 1008, 1013]);

/**
 * Milliseconds to wait before attempt number `attempt` (0 is the first): random, up to a limit that doubles from
 * `first` to `longest`, or within the range that a restarting server announces (1012 "restart; reconnect in 0-6 s").
 */
export function reconnectDelay(
  attempt,
  { code, reason = "", first = 500, longest = 30000, random = Math.random } = {},
) {
  const range = code === RESTART ? /(\d+)-(\d+) s/.exec(reason) : null;
  if (range) return (Number(range[1]) + random() * (range[2] - range[1])) * 1000;
  // 1013: too slow, or the server is full; 1008: too many messages. An immediate return would end in the same way.
  const least = code === 1013 || code === 1008 ? 1000 : 0;
  return least + random() * Math.min(longest, first * 2 ** Math.min(attempt, 30));
}
