/** Charts of the server's metrics, scraped every two seconds while the page is visible, and of the round-trip time. */

import { Chart } from "./charts.js";
import { duration, HOME } from "./connection.js";
import { byId, counted } from "./elements.js";
import { parse, quantile, Rate, sum } from "./exposition.js";

const SECONDS = 2;

export class Dashboard {
  #connection;
  #before = null;
  #deliveries = new Rate();
  #slow = new Rate();
  #cpu = new Rate();
  #charts = {
    connections: new Chart("Connections", whole, SECONDS),
    deliveries: new Chart("Deliveries per second", short, SECONDS),
    queue: new Chart("Queued messages", short, SECONDS),
    slow: new Chart("Slow consumers per minute", short, SECONDS),
    latency: new Chart("Round trip of this page", milliseconds, SECONDS),
  };

  constructor(connection) {
    this.#connection = connection;
    byId("charts").append(...Object.values(this.#charts).map((chart) => chart.element));
    this.#poll();
  }

  async #poll() {
    if (!document.hidden) await Promise.all([this.#scrape(), this.#measure()]);
    setTimeout(() => this.#poll(), SECONDS * 1000);
  }

  async #scrape() {
    try {
      const response = await fetch(new URL("metrics", HOME), { cache: "no-store" });
      if (!response.ok)
        throw new Error(
          response.status === 404
            ? "no charts: this server serves its metrics on another address (metrics_address)"
            : `metrics: ${response.status}`,
        );
      this.#show(parse(await response.text()), performance.now());
      byId("server-line").classList.remove("error");
    } catch (error) {
      byId("server-line").textContent = error instanceof TypeError ? "the server does not answer" : error.message;
      byId("server-line").classList.add("error");
      for (const name of ["connections", "deliveries", "queue", "slow"]) this.#charts[name].add(NaN);
    }
  }

  #show(now, at) {
    const { connections, deliveries, queue, slow } = this.#charts;
    connections.add(sum(now, "fastws_connections"), counted(sum(now, "fastws_subscriptions"), "subscription"));
    deliveries.add(
      this.#deliveries.next(sum(now, "fastws_deliveries_total"), at),
      `${short(sum(now, "fastws_deliveries_total"))} in total`,
    );
    queue.add(sum(now, "fastws_queue_messages"), bytes(sum(now, "fastws_queue_bytes")));
    const total = sum(now, "fastws_slow_consumers_total") || 0;
    slow.add(60 * this.#slow.next(total, at), `${whole(total)} in total`);
    byId("server-line").textContent = this.#line(now, at);
    this.#before = now;
  }

  #line(now, at) {
    const started = sum(now, "process_start_time_seconds");
    const cpu = this.#cpu.next(sum(now, "process_cpu_seconds_total"), at);
    const lag = quantile(this.#before, now, "fastws_loop_lag_seconds", 0.99);
    return [
      sum(now, "fastws_broker_up") === 0 ? "Broker down" : "Broker up",
      Number.isFinite(started) && `server up ${duration(Date.now() - started * 1000)}`,
      Number.isFinite(cpu) && `CPU ${(cpu * 100).toFixed(0)} %`,
      Number.isFinite(sum(now, "process_resident_memory_bytes")) &&
        `memory ${bytes(sum(now, "process_resident_memory_bytes"))}`,
      lag !== null && Number.isFinite(lag) && `loop lag p99 under ${milliseconds(lag * 1000)}`,
      counted(sum(now, "fastws_channels"), "channel"),
    ]
      .filter(Boolean)
      .join(" · ");
  }

  async #measure() {
    let ms = NaN;
    try {
      if (this.#connection.isConnected) ms = await this.#connection.measure();
    } catch {
      ms = NaN; // the connection was lost; the status shows it
    }
    byId("ping").textContent = Number.isNaN(ms) ? "–" : milliseconds(ms);
    this.#charts.latency.add(ms);
  }
}

function whole(value) {
  return Number.isFinite(value) ? Math.round(value).toLocaleString() : "–";
}

function short(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 10 && value % 1) return value.toFixed(1);
  return value.toLocaleString(undefined, {
    notation: value >= 10_000 ? "compact" : "standard",
    maximumFractionDigits: value >= 10_000 ? 1 : 0,
  });
}

function milliseconds(value) {
  return `${value < 10 ? value.toFixed(value < 1 ? 2 : 1) : Math.round(value)} ms`;
}

function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const step = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** step).toFixed(step && value / 1000 ** step < 100 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][step]}`;
}
