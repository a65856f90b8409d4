// How do the types of action do?

import type { Answer } from "../client";
import { h, unique } from "../dom";
import { link } from "../links";
import type { Page } from "../page";
import { addPanel, numbers } from "../panel";
import type { Column } from "../table";
import { texts } from "../texts";
import { asking, MOST_HOURS } from "../times";
import { bands } from "./expected";
import { hourly } from "./steps";

export function types(page: Page): void {
  outcomes(page);
  latency(page);
  if (page.state.type) oneType(page, page.state.type);
}

function typeColumn(page: Page): Column {
  const cell = (row: Record<string, unknown>): HTMLElement => {
    const type = String(row["action_type"]);
    return link(page, { ...page.state, type }, type);
  };
  return { field: "action_type", kind: "text", cell };
}

const names = (answer: Answer): string[] => answer.rows.map((row) => String(row["action_type"]));

function outcomes(page: Page): void {
  const asked = asking(page.state, { parameter: "days", most: 90 }, page.now);
  addPanel(page, {
    title: texts.types.outcomes,
    wide: true,
    question: { path: "actions/success-rate", parameters: { ...asked.parameters, limit: 100 } },
    columns: [
      typeColumn(page),
      { field: "health_status", kind: "status" },
      { field: "total_executions", kind: "count" },
      { field: "successes", kind: "count" },
      { field: "failures", kind: "count" },
      { field: "retrying", kind: "count" },
      { field: "success_rate", kind: "percent" },
      { field: "failure_rate", kind: "percent" },
      { field: "avg_duration_ms", kind: "ms" },
      { field: "total_retries", kind: "count" },
    ],
    chart: (answer) => ({
      shape: "across", labels: names(answer), kind: "count",
      series: [
        { name: texts.fields["successes"] ?? "", values: numbers(answer, "successes"), tone: "main" },
        { name: texts.fields["failures"] ?? "", values: numbers(answer, "failures"), tone: "bad" },
        { name: texts.overview.other, values: numbers(answer, "retrying"), tone: "warn" },
      ],
    }),
    head: (answer) => chooser(page, names(answer)),
  });
}

/** A field to choose one type, whose hours are shown below. */
function chooser(page: Page, found: string[]): HTMLElement {
  const id = unique("type");
  const all = found.includes(page.state.type) || !page.state.type ? found : [page.state.type, ...found];
  const select = h("select", { id, "data-keep": "type" }, h("option", { value: "" }, texts.types.all),
    all.map((each) => h("option", { value: each, selected: each === page.state.type }, each)));
  select.addEventListener("change", () => page.go({ ...page.state, type: select.value }));
  return h("div", { class: "field" }, h("label", { for: id }, texts.types.choose), select);
}

function latency(page: Page): void {
  const asked = asking(page.state, { parameter: "hours", most: MOST_HOURS }, page.now);
  addPanel(page, {
    title: texts.types.latency,
    wide: true,
    question: { path: "actions/latency", parameters: asked.parameters, cost: 5 },
    notes: [texts.types.exact, ...(asked.shortened ? [texts.shortened("7")] : [])],
    columns: [
      { field: "action_type", kind: "text" },
      { field: "sla_status", kind: "status" },
      { field: "sample_count", kind: "count" },
      { field: "mean_duration_ms", kind: "ms" },
      { field: "median_duration_ms", kind: "ms" },
      { field: "p95_duration_ms", kind: "ms" },
      { field: "p99_duration_ms", kind: "ms" },
      { field: "fastest_ms", kind: "ms" },
      { field: "slowest_ms", kind: "ms" },
    ],
    chart: (answer) => ({
      shape: "columns", labels: names(answer), kind: "ms",
      series: [
        { name: texts.fields["median_duration_ms"] ?? "", values: numbers(answer, "median_duration_ms"), tone: "main" },
        { name: texts.fields["p95_duration_ms"] ?? "", values: numbers(answer, "p95_duration_ms"), tone: "second" },
        { name: texts.fields["p99_duration_ms"] ?? "", values: numbers(answer, "p99_duration_ms"), tone: "bad" },
      ],
    }),
  });
}

function oneType(page: Page, type: string): void {
  hourly(page, { action_type: type }, { rate: `${type}: ${texts.overview.rateByTime}`, volume: `${type}: ${texts.overview.volume}` });
  bands(page, type);
}
