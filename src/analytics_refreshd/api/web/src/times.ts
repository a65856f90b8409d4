// Local times of a zone, and the parameters by which an endpoint is asked for a range.

import type { State } from "./state";

const HOUR = 3_600_000;
const DAYS = { "24h": 1, "7d": 7, "30d": 30, "90d": 90 } as const;
export const MOST_HOURS = 168;

/** Minutes that a zone is ahead of UTC at a moment. */
function offset(at: number, zone: string): number {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric",
    hour: "numeric", minute: "numeric", second: "numeric",
  }).formatToParts(at);
  const part = (type: string): number => Number(parts.find((each) => each.type === type)?.value);
  const local = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return Math.round((local - at) / 60_000);
}

/** The moment of a local time such as 2026-03-01T00:00. In an hour that comes twice it is one of the two. */
export function instant(local: string, zone: string): number {
  const asUtc = Date.parse(`${local}:00Z`);
  const near = asUtc - offset(asUtc, zone) * 60_000;
  return asUtc - offset(near, zone) * 60_000;
}

/** The local time of a moment, as an input of type datetime-local has it. */
export function local(at: number, zone: string): string {
  return new Date(at + offset(at, zone) * 60_000).toISOString().slice(0, 16);
}

/** How an endpoint names its window: by `hours` or `days`, up to `most`, or by since and until alone. */
export interface Window {
  parameter: "hours" | "days" | null;
  most: number;
  /** Whether its steps are those of the zone. */
  zoned?: boolean;
}

export interface Asked {
  parameters: Record<string, string | number>;
  /** Whether the range is longer than the endpoint takes, so that its latest part is asked for. */
  shortened: boolean;
}

/** The parameters for a range. */
export function asking(state: State, window: Window, now: number): Asked {
  const zone: Record<string, string> = window.zoned ? { timezone: state.zone } : {};
  const mostHours = window.parameter === "hours" ? window.most : window.most * 24;
  if (state.range === "custom") return customRange(state, zone, mostHours, now);
  const days = DAYS[state.range];
  const hours = Math.min(days * 24, mostHours);
  const shortened = hours < days * 24;
  if (window.parameter === "hours") return { parameters: { hours, ...zone }, shortened };
  if (window.parameter === "days") return { parameters: { days: Math.min(days, window.most), ...zone }, shortened };
  // the current hour and those before it; the same text within an hour, so that answers can be kept
  const since = Math.floor(now / HOUR) * HOUR - (hours - 1) * HOUR;
  return { parameters: { since: rfc3339(since), ...zone }, shortened };
}

function customRange(state: State, zone: Record<string, string>, mostHours: number, now: number): Asked {
  const until = Math.min(instant(state.until, state.zone), now);
  const since = instant(state.since, state.zone);
  // whole hours, or days of the zone, are read around it
  const around = (zone["timezone"] ? 2 * 24 : 0) * HOUR;
  const earliest = Math.ceil(until / HOUR) * HOUR - mostHours * HOUR + around;
  const shortened = since < earliest;
  return { parameters: { since: rfc3339(Math.max(since, earliest)), until: rfc3339(until), ...zone }, shortened };
}

function rfc3339(at: number): string {
  return new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
}

/** How many hours the range holds, about. */
export function hoursOf(state: State): number {
  if (state.range !== "custom") return DAYS[state.range] * 24;
  return (instant(state.until, state.zone) - instant(state.since, state.zone)) / HOUR;
}
