// At which hours does most run, and what rises with what?

import type { Answer, Row } from "../client";
import { shown, weekday } from "../format";
import type { Page } from "../page";
import { addPanel } from "../panel";
import type { Chart } from "../chart";
import type { Column } from "../table";
import { texts } from "../texts";
import { asking, hoursOf } from "../times";
import { nothingRan } from "./steps";

const LONG = 28 * 24;
const MEASURES = ["total_executions", "failure_rate", "p95_duration_ms", "total_retries"];

/** Hours of the week and correlations mean little in a day: it is four weeks unless the range is longer. */
function long(page: Page, zoned: boolean): Record<string, string | number> {
  const zone: Record<string, string> = zoned ? { timezone: page.state.zone } : {};
  if (hoursOf(page.state) < LONG && page.state.range !== "custom") return { days: 28, ...zone };
  return asking(page.state, { parameter: "days", most: 90, zoned }, page.now).parameters;
}

export function patterns(page: Page): void {
  const notes = hoursOf(page.state) < LONG && page.state.range !== "custom" ? [texts.patterns.fourWeeks] : [];
  const hours = {
    question: { path: "actions/heatmap", parameters: { ...long(page, true), limit: 168 } },
    columns: [
      { field: "weekday", kind: "text", cell: (row) => weekday(Number(row["weekday"])) },
      { field: "hour_of_day", kind: "clock" },
      { field: "total_executions", kind: "count" },
      { field: "failures", kind: "count" },
      { field: "failure_rate", kind: "percent" },
      { field: "data_points", kind: "count" },
    ] satisfies Column[],
    notes, wide: true, isEmpty: nothingRan,
  };
  addPanel(page, { ...hours, title: texts.patterns.executions, chart: (answer) => week(answer, "total_executions", "count") });
  addPanel(page, { ...hours, title: texts.patterns.failures, chart: (answer) => week(answer, "failure_rate", "percent") });
  addPanel(page, {
    title: texts.patterns.correlations, wide: true, notes: [...notes, texts.patterns.meaning],
    question: { path: "actions/correlations", parameters: long(page, false) },
    columns: [
      { field: "measure", kind: "text", cell: (row) => measure(row["measure"]) },
      { field: "other_measure", kind: "text", cell: (row) => measure(row["other_measure"]) },
      { field: "correlation", kind: "number" },
      { field: "data_points", kind: "count" },
    ],
    chart: matrix,
    isEmpty: (answer) => answer.rows.every((row) => row["correlation"] === null),
  });
}

function measure(name: unknown): string {
  return texts.patterns.measures[String(name)] ?? String(name);
}

function week(answer: Answer, field: string, kind: "count" | "percent"): Chart {
  const hours = Array.from({ length: 24 }, (_, hour) => shown(hour, "clock", "UTC"));
  const days = Array.from({ length: 7 }, (_, day) => weekday(day + 1));
  return {
    shape: "grid", labels: hours, rows: days, kind, series: [],
    cells: answer.rows.map((row: Row) => {
      const value = row[field];
      return [Number(row["hour_of_day"]), Number(row["weekday"]) - 1, value === null || value === undefined ? null : Number(value)];
    }),
  };
}

function matrix(answer: Answer): Chart {
  const at = (name: unknown): number => MEASURES.indexOf(String(name));
  const cells: [number, number, number | null][] = [];
  for (const row of answer.rows) {
    const value = row["correlation"];
    const figure = value === null || value === undefined ? null : Number(value);
    cells.push([at(row["measure"]), at(row["other_measure"]), figure], [at(row["other_measure"]), at(row["measure"]), figure]);
  }
  const names = MEASURES.map(measure);
  return { shape: "grid", labels: names, rows: names, kind: "number", series: [], cells, between: [-1, 1], written: true };
}

