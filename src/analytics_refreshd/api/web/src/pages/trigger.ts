// All that is known of one trigger.

import type { Answer } from "../client";
import { facts } from "../facts";
import { link } from "../links";
import type { Page } from "../page";
import { addPanel } from "../panel";
import { figure, title, type Column } from "../table";
import { texts } from "../texts";
import { recent } from "./failures";
import { hourly } from "./steps";

const STATS: Column[] = [
  { field: "trigger_name", kind: "text" }, { field: "organization_id", kind: "text" }, { field: "enabled", kind: "boolean" },
  { field: "total_executions", kind: "count" }, { field: "success_count", kind: "count" }, { field: "failure_count", kind: "count" },
  { field: "retrying_count", kind: "count" }, { field: "success_rate", kind: "percent" }, { field: "avg_duration_ms", kind: "ms" },
  { field: "p50_duration_ms", kind: "ms" }, { field: "p95_duration_ms", kind: "ms" }, { field: "p99_duration_ms", kind: "ms" },
  { field: "min_duration_ms", kind: "ms" }, { field: "max_duration_ms", kind: "ms" }, { field: "total_retries", kind: "count" },
  { field: "avg_retries", kind: "number" }, { field: "max_retries", kind: "count" }, { field: "first_execution_at", kind: "time" },
  { field: "last_execution_at", kind: "time" }, { field: "hours_active", kind: "number" },
];

export function trigger(page: Page, id: string): void {
  const { zone } = page.state;
  page.add(link(page, { ...page.state, trigger: "", offset: 0 }, `← ${texts.triggers.back}`));
  const head = ({ rows: [row = {}], meta }: Answer): HTMLElement => facts(STATS.map((column) => ({
    words: column.kind === "text",
    name: title(column) + (meta.approximate.includes(column.field) ? " ≈" : ""), value: figure(row[column.field], column.kind, zone),
  })));
  addPanel(page, {
    title: `${id}: ${texts.triggers.stats}`, wide: true, question: { path: `triggers/${encodeURIComponent(id)}/stats` },
    columns: STATS, head, chart: () => null,
  });
  hourly(page, { trigger_id: id }, { volume: texts.triggers.hours, rate: texts.triggers.rate });
  recent(page, { trigger_id: id }, texts.triggers.recent);
}
