// What do the actions cost, at the configured prices?

import type { Answer, Question, Row } from "../client";
import { h, unique, type Child } from "../dom";
import { money, monthName, monthsBefore } from "../format";
import type { Page } from "../page";
import { pager, PAGE_ROWS } from "../pager";
import { addPanel } from "../panel";
import { figure, type Column } from "../table";
import { texts } from "../texts";
import { nameIn } from "./organizations";
import { nameOf } from "./triggers";

const MONTHS = 12;
const CHOICE = 36;
const COST = 10;

export function costs(page: Page): void {
  page.add(chooser(page));
  byMonth(page);
  byType(page);
  byTrigger(page);
}

/** One month, or the last year. */
function chooser(page: Page): HTMLElement {
  const { state, now } = page;
  const id = unique("month");
  const name = (month: string): string => monthName(month);
  const select = h("select", { id, "data-keep": "month" }, h("option", { value: "" }, texts.costs.year),
    monthsBefore(now, state.zone, CHOICE).map((month) => h("option", { value: month, selected: month === state.month }, name(month))));
  select.addEventListener("change", () => page.go({ ...state, month: select.value, offset: 0 }));
  return h("div", { class: "controls full" }, h("div", { class: "field" }, h("label", { for: id }, texts.costs.choose), select),
    h("p", { class: "soft" }, texts.costs.months));
}

function question(page: Page, by: string, more: Record<string, string | number>): Question {
  const { month, zone } = page.state;
  const window: Record<string, string | number> = month ? { month } : { months: MONTHS };
  return { path: "organizations/costs", parameters: { ...window, by, timezone: zone, ...more }, cost: COST };
}

/** The cost of a row in words: unknown where any of it has no price, with what is known of it. */
function cost(row: Row): Child {
  const currency = String(row["currency"] ?? "");
  const priced = row["priced_cost"];
  const known = priced === null || priced === undefined ? null : money(Number(priced), currency);
  if (row["cost"] !== null) return known ?? figure(null, "number", "UTC");
  return known === null ? texts.costs.unknown : texts.costs.atLeast(known);
}

const COST_COLUMN: Column = { field: "cost", kind: "number", cell: cost };
const FIGURES: Column[] = [
  COST_COLUMN, { field: "unpriced_executions", kind: "count" }, { field: "total_executions", kind: "count" },
  { field: "total_retries", kind: "count" }, { field: "total_duration_ms", kind: "ms" },
];

const month: Column = { field: "month", kind: "text", cell: (row) => monthName(String(row["month"])) };
const organization: Column = { field: "organization_name", kind: "text", cell: nameIn };

/** Add up what is known, by the name of each row; null where no row has a price. */
function sums(answer: Answer, name: (row: Row) => string): Map<string, number | null> {
  const found = new Map<string, number | null>();
  for (const row of answer.rows) {
    const at = name(row);
    const before = found.get(at) ?? null;
    const priced = row["priced_cost"];
    found.set(at, priced === null || priced === undefined ? before : (before ?? 0) + Number(priced));
  }
  return found;
}

function currencyOf(answer: Answer): string {
  return String(answer.rows.find((row) => row["currency"])?.["currency"] ?? "");
}

function series(answer: Answer, values: (number | null)[]) {
  return [{ name: texts.costs.priced(currencyOf(answer)), values, tone: "main" as const }];
}

/** Said above a chart: whether there are prices, in which currency, and whether all have one. */
function head(answer: Answer): Child {
  if (answer.rows.every((row) => row["priced_cost"] === null)) return h("p", {}, texts.costs.noPrices);
  const partly = answer.rows.some((row) => row["cost"] === null);
  return h("p", {}, texts.costs.inCurrency(currencyOf(answer)), partly && ` ${texts.costs.partly}`);
}

function byMonth(page: Page): void {
  addPanel(page, {
    title: page.state.month ? texts.costs.byOrganization : texts.costs.byMonth, wide: true, head,
    question: question(page, "organization", { limit: 1000 }),
    columns: [...(page.state.month ? [organization] : [month, organization]), ...FIGURES, { field: "organization_id", kind: "text" }],
    chart: (answer) => {
      const found = page.state.month ? sums(answer, nameIn) : new Map([...sums(answer, (row) => monthName(String(row["month"])))].reverse());
      if ([...found.values()].every((value) => value === null)) return null;
      return { shape: page.state.month ? "across" : "stack", kind: "number", labels: [...found.keys()], series: series(answer, [...found.values()]) };
    },
  });
}

function byType(page: Page): void {
  const name = (row: Row): string => String(row["action_type"] ?? texts.noFigure);
  addPanel(page, {
    title: texts.costs.byType, wide: true, head, question: question(page, "action_type", { limit: 1000 }),
    columns: [{ field: "action_type", kind: "text" }, ...(page.state.month ? [organization] : [month, organization]), ...FIGURES],
    chart: (answer) => {
      const found = [...sums(answer, name)].sort(([, one], [, other]) => (other ?? -1) - (one ?? -1));
      if (found.every(([, value]) => value === null)) return null;
      return { shape: "across", kind: "number", labels: found.map(([each]) => each), series: series(answer, found.map(([, value]) => value)) };
    },
  });
}

function byTrigger(page: Page): void {
  const { state } = page;
  const trigger: Column = { field: "trigger_name", kind: "text", cell: (row) => nameOf(page, row) };
  addPanel(page, {
    title: texts.costs.byTrigger, wide: true,
    question: question(page, "trigger", { sort: "-priced_cost", limit: PAGE_ROWS, offset: state.offset }),
    columns: [trigger, ...(state.month ? [organization] : [month, organization]), ...FIGURES, { field: "trigger_id", kind: "text" }],
    foot: (answer) => pager(state.offset, answer.rows.length, answer.total, (offset) => page.go({ ...state, offset })),
  });
}
