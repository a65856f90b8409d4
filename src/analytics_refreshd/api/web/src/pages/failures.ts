// What fails, and why?

import type { Answer } from "../client";
import { h, unique } from "../dom";
import type { Page } from "../page";
import { pager, PAGE_ROWS } from "../pager";
import { addPanel, numbers } from "../panel";
import { figure, type Column } from "../table";
import { texts } from "../texts";
import { asking, MOST_HOURS } from "../times";
import { nameOf } from "./triggers";

const MESSAGE: Column = { field: "error_message", kind: "text", cell: (row) => h("span", { class: "message" }, String(row["error_message"] || texts.failures.noMessage)) };

export function failures(page: Page): void {
  const { type, trigger } = page.state;
  const only: Record<string, string> = {};
  if (type) only["action_type"] = type;
  if (trigger) only["trigger_id"] = trigger;
  page.add(filters(page));
  const asked = asking(page.state, { parameter: "hours", most: MOST_HOURS }, page.now);
  const shared = { parameters: { ...asked.parameters, ...only }, notes: asked.shortened ? [texts.shortened("7")] : [] };
  errors(page, shared);
  byType(page, shared);
  byTrigger(page, shared);
  recent(page, only, texts.failures.recent);
}

interface Shared {
  parameters: Record<string, string | number>;
  notes: string[];
}

function filters(page: Page): HTMLElement {
  const { state } = page;
  const field = (name: string, of: "type" | "trigger"): HTMLElement => {
    const input = h("input", { id: unique("filter"), type: "text", value: state[of], "data-keep": of, autocomplete: "off", spellcheck: "false" });
    input.addEventListener("change", () => page.go({ ...state, [of]: input.value.trim(), offset: 0 }));
    return h("div", { class: "field" }, h("label", { for: input.id }, name), input);
  };
  const clear = h("button", { type: "button", click: () => page.go({ ...state, type: "", trigger: "", offset: 0 }) }, texts.failures.clear);
  return h("fieldset", { class: "controls full" }, h("legend", { class: "hidden" }, texts.failures.filters),
    field(texts.failures.type, "type"), field(texts.failures.trigger, "trigger"), (state.type || state.trigger) && clear);
}

function bars(answer: Answer, name: (row: Answer["rows"][number]) => string, field: string) {
  return {
    shape: "across" as const, labels: answer.rows.map(name), kind: "count" as const,
    series: [{ name: texts.fields[field] ?? field, values: numbers(answer, field), tone: "bad" as const }],
  };
}

function errors(page: Page, { parameters, notes }: Shared): void {
  addPanel(page, {
    title: texts.failures.errors, wide: true, notes, empty: texts.failures.empty,
    question: { path: "failures/top-errors", parameters: { ...parameters, limit: 10 }, cost: 2 },
    columns: [
      MESSAGE, { field: "occurrence_count", kind: "count" }, { field: "affected_triggers", kind: "count" },
      { field: "action_types", kind: "list" }, { field: "avg_retry_count", kind: "number" },
      { field: "first_seen", kind: "time" }, { field: "last_seen", kind: "time" },
    ],
    chart: (answer) => bars(answer, (row) => String(row["error_message"] || texts.failures.noMessage), "occurrence_count"),
  });
}

function byTrigger(page: Page, { parameters, notes }: Shared): void {
  addPanel(page, {
    title: texts.failures.byTrigger, notes, empty: texts.failures.empty,
    question: { path: "failures/by-trigger", parameters: { ...parameters, limit: 10 }, cost: 2 },
    columns: [
      { field: "trigger_name", kind: "text", cell: (row) => nameOf(page, row) }, { field: "error_count", kind: "count" },
      { field: "unique_error_types", kind: "count" }, { field: "avg_retry_count", kind: "number" },
      { field: "max_retry_count", kind: "count" }, { field: "first_error_at", kind: "time" }, { field: "last_error_at", kind: "time" },
    ],
    chart: (answer) => bars(answer, (row) => String(row["trigger_name"] || row["trigger_id"] || texts.failures.noTrigger), "error_count"),
  });
}

function byType(page: Page, { parameters, notes }: Shared): void {
  addPanel(page, {
    title: texts.failures.byType, notes, empty: texts.failures.empty,
    question: { path: "failures/by-action-type", parameters, cost: 2 },
    columns: [
      { field: "action_type", kind: "text" }, { field: "failure_count", kind: "count" }, { field: "affected_triggers", kind: "count" },
      { field: "avg_retry_count", kind: "number" }, { field: "last_failure_at", kind: "time" },
    ],
    chart: (answer) => bars(answer, (row) => String(row["action_type"]), "failure_count"),
  });
}

/** The last failures, page by page. */
export function recent(page: Page, only: Record<string, string>, title: string): void {
  const { state } = page;
  const asked = asking(state, { parameter: null, most: MOST_HOURS / 24 }, page.now);
  const parameters = state.range === "24h" ? {} : asked.parameters;
  addPanel(page, {
    title, wide: true, empty: texts.failures.empty, notes: asked.shortened ? [texts.shortened("7")] : [],
    question: { path: "failures/recent", parameters: { ...parameters, ...only, limit: PAGE_ROWS, offset: state.offset }, cost: 2 },
    columns: [
      { field: "executed_at", kind: "time" }, MESSAGE, { field: "action_type", kind: "text" },
      ...("trigger_id" in only ? [] : [{ field: "trigger_name", kind: "text", cell: (row) => nameOf(page, row) } satisfies Column]),
      { field: "retry_count", kind: "count" }, { field: "duration_ms", kind: "ms" },
      { field: "organization_id", kind: "text" }, { field: "event_id", kind: "text" }, { field: "id", kind: "text", cell: (row) => figure(row["id"], "text", state.zone) },
    ],
    foot: (answer) => pager(state.offset, answer.rows.length, answer.total, (offset) => page.go({ ...state, offset })),
  });
}
