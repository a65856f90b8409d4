// How is it going? Success rate, volume and durations.

import type { Answer, Row } from "../client";
import { h } from "../dom";
import { facts } from "../facts";
import { liveBar } from "../livebar";
import type { Page } from "../page";
import { addPanel } from "../panel";
import { badge, figure, type Column } from "../table";
import { texts } from "../texts";
import { asking } from "../times";
import { expected } from "./expected";
import { nothingRan, p95Chart, rateChart, steps, volumeChart } from "./steps";

const SUMMARY_DAYS = 90;

const COLUMNS: Column[] = [
  { field: "status", kind: "status", title: texts.fields["health_status"] ?? "" },
  { field: "total_executions", kind: "count" },
  { field: "total_successes", kind: "count" },
  { field: "total_failures", kind: "count" },
  { field: "success_rate", kind: "percent" },
  { field: "avg_duration_ms", kind: "ms" },
  { field: "p95_duration_ms", kind: "ms" },
  { field: "p99_duration_ms", kind: "ms" },
  { field: "total_retries", kind: "count" },
];

export function overview(page: Page): void {
  const { zone } = page.state;
  let show: (row: Row, approximate: string[]) => void = () => undefined;
  // the stream tells of the last 24 hours
  page.add(liveBar(page, page.state.range === "24h" ? (row, approximate) => show(row, approximate) : null));
  show = summary(page);
  const { question, step, columns, notes } = steps(page);
  const shared = { question, columns, notes, isEmpty: nothingRan };
  addPanel(page, { ...shared, title: texts.overview.rateByTime, chart: (answer) => rateChart(answer, step, zone) });
  addPanel(page, { ...shared, title: texts.overview.volume, chart: (answer) => volumeChart(answer, step, zone) });
  if (step === "hour") {
    addPanel(page, { ...shared, title: texts.overview.p95ByTime, wide: true, chart: (answer) => p95Chart(answer, step, zone) });
  }
  expected(page);
}

/** Add the figures of the range; return how to show others in their place. */
function summary(page: Page): (row: Row, approximate: string[]) => void {
  const { zone } = page.state;
  const asked = asking(page.state, { parameter: null, most: SUMMARY_DAYS }, page.now);
  const notes = asked.shortened ? [texts.shortened(String(SUMMARY_DAYS))] : [];
  const place = h("div", {});
  const show = (row: Row, approximate: string[]): void => {
    const about = (field: string): string => (approximate.includes(field) ? " ≈" : "");
    const status = row["status"];
    place.replaceChildren(facts([
      { name: texts.overview.successRate, value: figure(row["success_rate"], "percent", zone), beside: typeof status === "string" && badge(status) },
      { name: texts.overview.executions, value: figure(row["total_executions"], "count", zone) },
      { name: texts.overview.failures, value: figure(row["total_failures"], "count", zone) },
      { name: texts.overview.p95 + about("p95_duration_ms"), value: figure(row["p95_duration_ms"], "ms", zone) },
      { name: texts.overview.retries, value: figure(row["total_retries"], "count", zone) },
    ]));
  };
  const head = ({ rows: [row = {}], meta }: Answer): HTMLElement => {
    show(row, meta.approximate);
    return place;
  };
  const parameters = page.state.range === "24h" ? {} : asked.parameters;
  addPanel(page, {
    title: texts.ranges[page.state.range], wide: true, question: { path: "health/summary", parameters }, columns: COLUMNS,
    head, chart: () => null, notes: [...notes, ...(page.state.range === "24h" || page.state.range === "7d" ? [] : [texts.overview.p95Hours])],
    isEmpty: nothingRan,
  });
  return show;
}
