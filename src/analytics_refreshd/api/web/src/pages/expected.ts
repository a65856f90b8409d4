// What was expected of the last hours, and is of the next: a hint where to look.

import type { Chart, Figure } from "../chart";
import { Trouble, type Answer, type Question, type Row } from "../client";
import { append, h, unique } from "../dom";
import { shown } from "../format";
import type { Page } from "../page";
import { addPanel, numbers } from "../panel";
import { figure, type Column } from "../table";
import { texts } from "../texts";
import { box, isShared } from "../trouble";

const COST = 5;
const DAY = { hours: 24 };
const PAST: Question = { path: "throughput/hourly", parameters: DAY };

/** Unusual hours, the bands of an action type, and the next 24 hours. */
export function expected(page: Page): void {
  const draws: Draw[] = [
    (within) => hints(within),
    async (within) => chosen(within, await types(page)),
    async (within) => next(within, await page.ask(PAST)),
  ];
  const places = draws.map((draw): [Draw, HTMLElement] => [draw, h("div", { class: "panels full" })]);
  page.add(...places.map(([, place]) => place));
  page.loading(inTurn(page, places));
}

type Draw = (within: Page) => void | Promise<void>;

/** Ask one after another: the API answers only a few questions of one key at once. */
async function inTurn(page: Page, places: [Draw, HTMLElement][]): Promise<void> {
  await page.first;
  for (const [draw, place] of places) {
    const works: Promise<void>[] = [];
    const loading = (work: Promise<void>): void => {
      works.push(work);
      page.loading(work);
    };
    if (page.signal.aborted) return;
    try {
      await draw({ ...page, loading, add: (...children) => append(place, children) });
    } catch (error) {
      failed(page, place, error);
    }
    await Promise.all(works);
  }
}

function failed(page: Page, place: HTMLElement, error: unknown): void {
  if (page.signal.aborted) return;
  const trouble = error instanceof Trouble ? error : new Trouble(-1, "", String(error));
  if (trouble.status === 401 || isShared(trouble)) page.report(trouble);
  else place.replaceChildren(box(trouble, page.state.zone, () => page.go(page.state), page.signal));
}

function hints(page: Page): void {
  const columns: Column[] = [
    { field: "hour", kind: "hour" },
    { field: "action_type", kind: "text" },
    { field: "measure", kind: "text", cell: (row) => texts.expected.measures[String(row["measure"])] ?? String(row["measure"]) },
    ...(["value", "expected", "lower", "upper"] as const).map((field): Column => ({ field, kind: "number", cell: (row) => measured(row, field, page.state.zone) })),
    { field: "deviations", kind: "number" },
  ];
  addPanel(page, {
    title: texts.expected.hints, wide: true, question: { path: "anomalies", parameters: DAY, cost: COST }, columns,
    empty: texts.expected.noHints,
  });
}

/** A figure of a measure, in the unit in which people read it. */
function measured(row: Row, field: string, zone: string): ReturnType<typeof figure> {
  const value = row[field] ?? null;
  if (value === null) return figure(null, "number", zone);
  switch (row["measure"]) {
    case "volume": return figure(value, "count", zone);
    case "p95_seconds": return figure(Number(value) * 1000, "ms", zone);
    default: return figure(Number(value) * 100, "percent", zone);
  }
}

/** The action types, the busiest first. */
async function types(page: Page): Promise<string[]> {
  const { rows } = await page.ask({ path: "actions/success-rate", parameters: { days: 7, limit: 100 } });
  const busiest = [...rows].sort((one, other) => Number(other["total_executions"]) - Number(one["total_executions"]));
  return busiest.map((row) => String(row["action_type"]));
}

function chosen(page: Page, found: string[]): void {
  const type = page.state.type || found[0];
  if (type === undefined) return;
  const all = found.includes(type) ? found : [type, ...found];
  const id = unique("type"), heading = unique("panel");
  const select = h("select", { id, "data-keep": "type" }, all.map((each) => h("option", { value: each, selected: each === type }, each)));
  select.addEventListener("change", () => page.go({ ...page.state, type: select.value }));
  page.add(h("section", { class: "panel full", "aria-labelledby": heading }, h("h2", { id: heading }, texts.expected.title),
    h("div", { class: "field" }, h("label", { for: id }, texts.expected.choose), select),
    h("p", { class: "soft" }, texts.expected.meaning)));
  bands(page, type);
}

/** Executions and success rate of a type, each with its band. */
export function bands(page: Page, type: string): void {
  const question = { path: "anomalies", parameters: { ...DAY, every: "true", action_type: type, limit: 1000 }, cost: COST };
  for (const [measure, title, kind] of [["volume", texts.expected.volume(type), "count"], ["failure_rate", texts.expected.rate(type), "percent"]] as const) {
    addPanel(page, {
      title, question, columns: columns(kind), rows: (answer) => of(answer, measure), empty: texts.expected.few,
      chart: (answer) => bandChart(answer, kind, page.state.zone),
    });
  }
}

function columns(kind: "count" | "percent"): Column[] {
  return [
    { field: "hour", kind: "hour" },
    ...["value", "expected", "lower", "upper"].map((field): Column => ({ field, kind })),
    { field: "deviations", kind: "number" },
    { field: "unusual", kind: "boolean" },
  ];
}

/** The rows of a measure, oldest first. A failure rate becomes the success rate, whose band is the other way round. */
function of(answer: Answer, measure: string): Row[] {
  const rows = answer.rows.filter((row) => row["measure"] === measure).reverse();
  if (measure !== "failure_rate") return rows;
  const success = (value: unknown): number | null => (value === null || value === undefined ? null : 100 - 100 * Number(value));
  return rows.map((row) => ({
    ...row, value: success(row["value"]), expected: success(row["expected"]), lower: success(row["upper"]), upper: success(row["lower"]),
    deviations: -Number(row["deviations"]),
  }));
}

function bandChart(answer: Answer, kind: "count" | "percent", zone: string): Chart {
  const values = numbers(answer, "value");
  const unusual = answer.rows.map((row, at): Figure => (row["unusual"] === true ? values[at] ?? null : null));
  return {
    shape: "line", labels: answer.rows.map((row) => shown(row["hour"], "hour", zone)), kind, ...(kind === "percent" ? { most: 100 } : {}),
    series: [
      { name: texts.expected.seen, values, tone: "main" },
      { name: texts.expected.expected, values: numbers(answer, "expected"), tone: "second", look: "dashed" },
      ...(unusual.some((value) => value !== null) ? [{ name: texts.expected.unusual, values: unusual, tone: "bad", look: "points" } as const] : []),
    ],
    band: { name: texts.expected.band, lower: numbers(answer, "lower"), upper: numbers(answer, "upper") },
  };
}

function next(page: Page, past: Answer): void {
  const question = { path: "forecast", cost: COST };
  const columns: Column[] = ["hour", "total_executions", "executions_lower", "executions_upper", "failures", "failures_lower", "failures_upper"]
    .map((field) => ({ field, kind: field === "hour" ? "hour" : "count" }));
  const isEmpty = (answer: Answer): boolean => answer.rows.every((row) => row["total_executions"] === null);
  const shared = { question, columns, isEmpty, empty: texts.expected.few, notes: [texts.expected.whole] };
  addPanel(page, { ...shared, title: texts.expected.nextVolume, chart: (answer) => nextChart(past, answer, ["total_executions", "executions"], page.state.zone) });
  addPanel(page, { ...shared, title: texts.expected.nextFailures, chart: (answer) => nextChart(past, answer, ["failures", "failures"], page.state.zone) });
}

/** The whole hours before, then what is expected, dashed. */
function nextChart(past: Answer, answer: Answer, [field, band]: [string, string], zone: string): Chart {
  const first = String(answer.rows[0]?.["hour"] ?? "");
  const before = past.rows.filter((row) => Date.parse(String(row["hour"])) < Date.parse(first));
  const gap = before.map((): Figure => null), rest = answer.rows.map((): Figure => null);
  return {
    shape: "line", kind: "count", labels: [...before, ...answer.rows].map((row) => shown(row["hour"], "hour", zone)),
    series: [
      { name: texts.expected.seen, values: [...numbers({ ...past, rows: before }, field), ...rest], tone: "main" },
      { name: texts.expected.expected, values: [...gap, ...numbers(answer, field)], tone: "second", look: "dashed" },
    ],
    band: { name: texts.expected.band, lower: [...gap, ...numbers(answer, `${band}_lower`)], upper: [...gap, ...numbers(answer, `${band}_upper`)] },
  };
}
