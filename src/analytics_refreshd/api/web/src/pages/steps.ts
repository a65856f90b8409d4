// Charts over time that several pages have.

import type { Chart } from "../chart";
import type { Answer, Question } from "../client";
import { shown, type Kind } from "../format";
import type { Page } from "../page";
import { addPanel, numbers } from "../panel";
import type { Column } from "../table";
import { texts } from "../texts";
import { asking, hoursOf, MOST_HOURS } from "../times";

/** By hour where the range is a week at most, else by day of the zone. */
export interface Steps {
  question: Question;
  step: "hour" | "day";
  columns: Column[];
  notes: string[];
}

/** The question of executions over time. */
export function steps(page: Page, filters: Record<string, string> = {}): Steps {
  const byHour = hoursOf(page.state) <= MOST_HOURS;
  const window = byHour ? { parameter: "hours" as const, most: MOST_HOURS } : { parameter: "days" as const, most: 365, zoned: true };
  const asked = asking(page.state, window, page.now);
  const step = byHour ? "hour" : "day";
  const path = byHour ? "throughput/hourly" : "actions/daily";
  const columns: Column[] = [
    { field: step, kind: step },
    { field: "total_executions", kind: "count" },
    { field: "successes", kind: "count" },
    { field: "failures", kind: "count" },
    { field: "success_rate", kind: "percent" },
    { field: "avg_duration_ms", kind: "ms" },
  ];
  if (byHour) columns.push({ field: "p95_duration_ms", kind: "ms" });
  const notes = page.state.range === "custom" ? [] : [texts.overview.open];
  return { question: { path, parameters: { ...asked.parameters, ...filters } }, step, columns, notes };
}

function labels(answer: Answer, step: Kind, zone: string): string[] {
  return answer.rows.map((row) => shown(row[step], step, zone));
}

/** Whether nothing ran in any step. */
export function nothingRan(answer: Answer): boolean {
  return answer.rows.every((row) => row["total_executions"] === 0);
}

/** The hours of one trigger or type, as rate and as volume. */
export function hourly(page: Page, filter: Record<string, string>, titles: { rate: string; volume: string }): void {
  const { zone } = page.state;
  const asked = asking(page.state, { parameter: "hours", most: MOST_HOURS }, page.now);
  const shared = {
    question: { path: "throughput/hourly", parameters: { ...asked.parameters, ...filter } },
    columns: [
      { field: "hour", kind: "hour" }, { field: "total_executions", kind: "count" }, { field: "failures", kind: "count" },
      { field: "success_rate", kind: "percent" }, { field: "p95_duration_ms", kind: "ms" },
    ] satisfies Column[],
    notes: asked.shortened ? [texts.shortened("7")] : [],
    isEmpty: nothingRan,
  };
  addPanel(page, { ...shared, title: titles.rate, chart: (answer) => rateChart(answer, "hour", zone) });
  addPanel(page, { ...shared, title: titles.volume, chart: (answer) => volumeChart(answer, "hour", zone) });
}

export function rateChart(answer: Answer, step: "hour" | "day", zone: string): Chart {
  return {
    shape: "line", labels: labels(answer, step, zone), kind: "percent", most: 100,
    series: [{ name: texts.overview.successRate, values: numbers(answer, "success_rate"), tone: "main" }],
  };
}

export function volumeChart(answer: Answer, step: "hour" | "day", zone: string): Chart {
  const failures = numbers(answer, "failures"), successes = numbers(answer, "successes");
  const others = numbers(answer, "total_executions").map((all, at) => (all ?? 0) - (failures[at] ?? 0) - (successes[at] ?? 0));
  return {
    shape: "stack", labels: labels(answer, step, zone), kind: "count",
    series: [
      { name: texts.fields["successes"] ?? "", values: successes, tone: "main" },
      { name: texts.fields["failures"] ?? "", values: failures, tone: "bad" },
      { name: texts.overview.other, values: others, tone: "warn" },
    ],
  };
}

export function p95Chart(answer: Answer, step: "hour" | "day", zone: string): Chart {
  return {
    shape: "line", labels: labels(answer, step, zone), kind: "ms",
    series: [
      { name: texts.fields["p95_duration_ms"] ?? "", values: numbers(answer, "p95_duration_ms"), tone: "main" },
      { name: texts.fields["avg_duration_ms"] ?? "", values: numbers(answer, "avg_duration_ms"), tone: "second" },
    ],
  };
}
