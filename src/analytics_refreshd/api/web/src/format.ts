// Figures as people read them: numbers, durations, dates and zones by Intl.

import type { Value } from "./client";
import { locale, texts } from "./texts";

export type Kind =
  | "text" | "status" | "list" | "boolean" | "count" | "number" | "percent" | "growth" | "ms" | "bytes" | "minutes"
  | "time" | "hour" | "day" | "clock";

const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const some = new Intl.NumberFormat(locale, { maximumFractionDigits: 2 });
const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 2 });
const growth = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1, signDisplay: "exceptZero" });

function unit(name: string, digits: number): Intl.NumberFormat {
  return new Intl.NumberFormat(locale, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: digits });
}

const units = {
  ms: unit("millisecond", 0), s: unit("second", 1), wholeS: unit("second", 0), min: unit("minute", 1), h: unit("hour", 1), d: unit("day", 1),
  B: unit("byte", 0), kB: unit("kilobyte", 1), MB: unit("megabyte", 1), GB: unit("gigabyte", 1),
};

function duration(ms: number): string {
  if (Math.abs(ms) < 1000) return units.ms.format(ms);
  const seconds = ms / 1000;
  if (seconds < 120) return (seconds < 10 ? units.s : units.wholeS).format(seconds);
  if (seconds < 7200) return units.min.format(seconds / 60);
  return seconds < 172_800 ? units.h.format(seconds / 3600) : units.d.format(seconds / 86_400);
}

function size(bytes: number): string {
  if (bytes < 1000) return units.B.format(bytes);
  if (bytes < 1e6) return units.kB.format(bytes / 1e3);
  return bytes < 1e9 ? units.MB.format(bytes / 1e6) : units.GB.format(bytes / 1e9);
}

/** An amount, to the cent; a smaller one to its first digits, since it is not 0. */
export function money(amount: number, currency: string): string {
  const digits = amount !== 0 && Math.abs(amount) < 1 ? { maximumSignificantDigits: 3 } : {};
  return new Intl.NumberFormat(locale, { style: "currency", currency, ...digits }).format(amount);
}

const monthYear = new Intl.DateTimeFormat(locale, { timeZone: "UTC", month: "long", year: "numeric" });

/** A month such as 2026-03 in words. */
export function monthName(month: string): string {
  return monthYear.format(new Date(`${month}-01T00:00:00Z`));
}

/** The months until that of a moment in the zone, the latest first. */
export function monthsBefore(at: number, zone: string, count: number): string[] {
  const parts = date(zone, "month", { year: "numeric", month: "numeric" }).formatToParts(at);
  const part = (type: string): number => Number(parts.find((each) => each.type === type)?.value);
  return Array.from({ length: count }, (_, back) => new Date(Date.UTC(part("year"), part("month") - 1 - back, 1)).toISOString().slice(0, 7));
}

const kept = new Map<string, Intl.DateTimeFormat>();

function date(zone: string, kind: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const name = `${kind} ${zone}`;
  const found = kept.get(name) ?? new Intl.DateTimeFormat(locale, { timeZone: zone, ...options });
  kept.set(name, found);
  return found;
}

/** A moment in the zone, to the minute, with the year where it is another one. */
export function time(at: string | number, zone: string): string {
  const moment = new Date(at);
  const old = Math.abs(Date.now() - moment.getTime()) > 300 * 86_400_000;
  const year: Intl.DateTimeFormatOptions = old ? { year: "numeric" } : {};
  const options: Intl.DateTimeFormatOptions = { ...year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return date(zone, `time ${old}`, options).format(moment);
}

/** The time of a moment in the zone, to the second. */
export function clockTime(at: string, zone: string): string {
  return date(zone, "seconds", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(new Date(at));
}

function day(at: string, zone: string): string {
  return date(zone, "day", { weekday: "short", month: "short", day: "numeric" }).format(new Date(at));
}

/** The day of a moment in the zone, with its year. */
export function dayOf(at: string, zone: string): string {
  return date(zone, "whole day", { year: "numeric", month: "short", day: "numeric" }).format(new Date(at));
}

/** The hour of a day, as a clock shows it. */
function clock(hour: number): string {
  return date("UTC", "clock", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(new Date(hour * 3_600_000));
}

/** The name of a day of the week: 1 is Monday. */
export function weekday(number: number): string {
  // 1 January 2024 was a Monday
  return date("UTC", "weekday", { weekday: "short" }).format(new Date(Date.UTC(2024, 0, number)));
}

const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

/** How long ago a moment was. */
export function ago(at: string, now: number): string {
  const seconds = Math.round((new Date(at).getTime() - now) / 1000);
  if (Math.abs(seconds) < 90) return relative.format(seconds, "second");
  if (Math.abs(seconds) < 5400) return relative.format(Math.round(seconds / 60), "minute");
  if (Math.abs(seconds) < 129_600) return relative.format(Math.round(seconds / 3600), "hour");
  return relative.format(Math.round(seconds / 86_400), "day");
}

export function count(value: number): string {
  return whole.format(value);
}

/** A figure on an axis, where there is little room. */
export function onAxis(value: number, kind: Kind): string {
  if (kind === "count" || kind === "number") return short.format(value);
  return kind === "percent" ? percent.format(value / 100) : shown(value, kind, "UTC");
}

/** A value as text. Null is "" here: who shows it says that there is no figure. */
export function shown(value: Value | undefined, kind: Kind, zone: string): string {
  if (value === null || value === undefined) return "";
  const number = Number(value);
  switch (kind) {
    case "count": return whole.format(number);
    case "number": return some.format(number);
    case "percent": return percent.format(number / 100);
    case "growth": return growth.format(number / 100);
    case "ms": return duration(number);
    case "minutes": return duration(number * 60_000);
    case "bytes": return size(number);
    case "time": case "hour": return time(String(value), zone);
    case "day": return day(String(value), zone);
    case "clock": return clock(number);
    case "boolean": return value === true || value === "true" ? texts.yes : texts.no;
    case "status": return texts.status[String(value)] ?? String(value);
    case "list": return Array.isArray(value) ? value.join(", ") : String(value);
    default: return String(value);
  }
}

export function isNumber(kind: Kind): boolean {
  return ["count", "number", "percent", "growth", "ms", "bytes", "minutes"].includes(kind);
}
