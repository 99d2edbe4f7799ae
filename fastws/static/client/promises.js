/** Promises that are settled from outside, and promises with a time limit. */

import { FastWSError } from "./errors.js";

/** A promise with its `resolve` and `reject`. */
export function deferred() {
  const it = {};
  it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }));
  it.promise.catch(() => {}); // a rejection that nobody waits for is not an error
  return it;
}

/** Like `promise`, but rejects with `timeout` after this number of seconds. */
export function within(seconds, promise, text = "no answer") {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new FastWSError("timeout", `${text} within ${seconds} s`)), seconds * 1000);
  });
  const first = Promise.race([promise, late]).finally(() => clearTimeout(timer));
  first.catch(() => {});
  return first;
}
