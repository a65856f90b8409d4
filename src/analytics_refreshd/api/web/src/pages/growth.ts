// How does it grow, and when does most run?

import type { Page } from "../page";
import { addPanel, numbers } from "../panel";
import { shown } from "../format";
import { texts } from "../texts";
import { asking, hoursOf } from "../times";
import { nothingRan, volumeChart } from "./steps";

export function growth(page: Page): void {
  weekly(page);
  daily(page);
  peak(page);
}

function weekly(page: Page): void {
  const { state } = page;
  const weeks = Math.max(8, Math.min(520, Math.ceil(hoursOf(state) / 168)));
  addPanel(page, {
    title: texts.growth.weekly, wide: true, isEmpty: nothingRan, notes: [texts.overview.open],
    question: { path: "growth/weekly", parameters: { weeks, timezone: state.zone } },
    columns: [
      { field: "week", kind: "day", title: texts.fields["week"] ?? "" }, { field: "total_executions", kind: "count" },
      { field: "prev_week_executions", kind: "count" }, { field: "growth_percentage", kind: "growth" },
      { field: "successes", kind: "count" }, { field: "avg_duration_ms", kind: "ms" },
    ],
    chart: (answer) => ({
      shape: "stack", kind: "count", labels: answer.rows.map((row) => shown(row["week"], "day", state.zone)),
      series: [{ name: texts.overview.executions, values: numbers(answer, "total_executions"), tone: "main" }],
    }),
  });
}

function daily(page: Page): void {
  const { state } = page;
  const days = state.range === "24h" || state.range === "7d" ? { parameters: { days: 30, timezone: state.zone } } : asking(state, { parameter: "days", most: 365, zoned: true }, page.now);
  addPanel(page, {
    title: texts.growth.daily, isEmpty: nothingRan, notes: [texts.overview.open],
    question: { path: "actions/daily", parameters: days.parameters },
    columns: [
      { field: "day", kind: "day" }, { field: "total_executions", kind: "count" }, { field: "successes", kind: "count" },
      { field: "failures", kind: "count" }, { field: "success_rate", kind: "percent" }, { field: "avg_duration_ms", kind: "ms" },
    ],
    chart: (answer) => volumeChart(answer, "day", state.zone),
  });
}

function peak(page: Page): void {
  const asked = asking(page.state, { parameter: "days", most: 90, zoned: true }, page.now);
  addPanel(page, {
    title: texts.growth.peak, notes: [texts.growth.peakNote], isEmpty: nothingRan,
    question: { path: "throughput/peak-hours", parameters: { ...asked.parameters, sort: "hour_of_day" } },
    columns: [
      { field: "hour_of_day", kind: "clock" }, { field: "avg_executions_per_hour", kind: "number" }, { field: "peak_executions", kind: "count" },
      { field: "min_executions", kind: "count" }, { field: "total_executions", kind: "count" }, { field: "data_points", kind: "count" },
    ],
    chart: (answer) => ({
      shape: "stack", kind: "number", labels: answer.rows.map((row) => shown(row["hour_of_day"], "clock", "UTC")),
      series: [{ name: texts.fields["avg_executions_per_hour"] ?? "", values: numbers(answer, "avg_executions_per_hour"), tone: "main" }],
    }),
  });
}
