// Which triggers are there, and which need attention?

import { askCsv, Trouble, type Answer, type Row } from "../client";
import { parseCsv, withoutApostrophe } from "../csv";
import { h, unique, type Child } from "../dom";
import { facts } from "../facts";
import { count, isNumber } from "../format";
import { link } from "../links";
import type { Page } from "../page";
import { pager, PAGE_ROWS } from "../pager";
import { addPanel } from "../panel";
import { figure, table, type Column } from "../table";
import { texts } from "../texts";
import { box, isShared } from "../trouble";
import { chosen, listName, listQuestion, LISTS } from "./lists";
import { trigger } from "./trigger";

export function triggers(page: Page): void {
  if (page.state.trigger) {
    trigger(page, page.state.trigger);
    return;
  }
  page.add(choices(page));
  if (page.state.search) found(page);
  else browse(page);
  health(page);
}

function choices(page: Page): HTMLElement {
  const { state } = page;
  const list = h("select", { id: unique("list"), "data-keep": "list" },
    LISTS.map((each) => h("option", { value: each, selected: each === listName(page) }, texts.triggers.lists[each])));
  list.addEventListener("change", () => page.go({ ...state, list: list.value, sort: "", offset: 0 }));
  const search = h("input", { id: unique("search"), type: "search", value: state.search, "data-keep": "search", autocomplete: "off" });
  const go = (): void => {
    if (search.value.trim() !== state.search) page.go({ ...state, search: search.value.trim(), offset: 0 });
  };
  search.addEventListener("change", go);
  search.addEventListener("search", go);
  const field = (name: string, input: HTMLElement): HTMLElement => h("div", { class: "field" }, h("label", { for: input.id }, name), input);
  return h("div", { class: "controls full" }, field(texts.triggers.list, list), field(texts.triggers.search, search));
}

function columns(page: Page): Column[] {
  const own = chosen(page).columns;
  const name: Column = { field: "trigger_name", kind: "text", cell: (row) => nameOf(page, row) };
  return [name, ...own, { field: "organization_id", kind: "text" }, { field: "trigger_id", kind: "text" }];
}

/** A trigger's name, as a link to its page. */
export function nameOf(page: Page, row: Row): Child {
  const id = row["trigger_id"], name = row["trigger_name"];
  if (id === null || id === undefined || id === "") return figure(null, "text", "UTC");
  return link(page, { ...page.state, page: "triggers", trigger: String(id), offset: 0 }, String(name || texts.triggers.unnamed));
}

/** Descending at first; another press turns the order round. */
function turned(sorted: string, field: string): string {
  return sorted === `-${field}` ? field : `-${field}`;
}

function browse(page: Page): void {
  const { state } = page;
  const list = chosen(page);
  const sorted = state.sort || list.sorted || "";
  const question = listQuestion(page);
  addPanel(page, {
    title: texts.triggers.lists[listName(page)],
    wide: true,
    question: { ...question, parameters: { ...question.parameters, limit: PAGE_ROWS, offset: state.offset, ...(sorted ? { sort: sorted } : {}) } },
    columns: columns(page),
    sorted,
    sort: (field) => page.go({ ...state, sort: turned(sorted, field), offset: 0 }),
    foot: (answer) => pager(state.offset, answer.rows.length, answer.total, (offset) => page.go({ ...state, offset })),
    notes: list.ranged ? [] : [texts.triggers.history],
  });
}

/** Search the whole list: its file is read at most once a minute and looked through here, so another search costs nothing. */
function found(page: Page): void {
  const id = unique("panel");
  const content = h("div", { class: "content" }, h("p", { class: "soft wait" }, texts.loading));
  page.add(h("section", { class: "panel full", "aria-labelledby": id }, h("h2", { id }, texts.triggers.lists[listName(page)]), content));
  const load = async (): Promise<void> => {
    try {
      content.replaceChildren(...results(page, await index(page)));
    } catch (error) {
      if (page.signal.aborted) return;
      const trouble = error instanceof Trouble ? error : new Trouble(-1, "", String(error));
      if (trouble.status === 401 || isShared(trouble)) page.report(trouble);
      content.replaceChildren(box(trouble, page.state.zone, () => page.loading(load()), page.signal));
    }
  };
  page.loading(load());
}

let known: { name: string; at: number; rows: Row[] } | null = null;
const KNOWN_MS = 60_000;

/** Every row of the list, a minute old at most. */
async function index(page: Page): Promise<Row[]> {
  const question = listQuestion(page);
  const name = JSON.stringify([question.path, question.parameters, page.state.organization]);
  if (known?.name === name && page.now - known.at < KNOWN_MS) return known.rows;
  const kinds = new Map(columns(page).map((column) => [column.field, column.kind]));
  const text = await askCsv(question, page.state.organization, page.signal);
  const rows = parseCsv(text).map((cells): Row => Object.fromEntries(Object.entries(cells).map(([field, cell]) => {
    if (cell === "") return [field, null];
    return [field, isNumber(kinds.get(field) ?? "text") ? Number(cell) : withoutApostrophe(cell)];
  })));
  known = { name, at: page.now, rows };
  return rows;
}

function results(page: Page, rows: Row[]): Node[] {
  const { state } = page;
  const wanted = state.search.toLocaleLowerCase();
  const matches = rows.filter((row) => ["trigger_name", "trigger_id", "organization_id"].some((field) => String(row[field] ?? "").toLocaleLowerCase().includes(wanted)));
  const sorted = state.sort;
  if (sorted) matches.sort(by(sorted));
  const shown = matches.slice(state.offset, state.offset + PAGE_ROWS);
  const told = h("p", { role: "status" }, matches.length ? texts.triggers.found(count(matches.length), count(rows.length)) : texts.triggers.none);
  if (!matches.length) return [told];
  const options = { caption: texts.triggers.lists[listName(page)], zone: state.zone, sorted, sort: (field: string) => page.go({ ...state, sort: turned(sorted, field), offset: 0 }) };
  const pages = pager(state.offset, shown.length, matches.length, (offset) => page.go({ ...state, offset }));
  return [told, table(shown, columns(page), options), ...(pages ? [pages] : [])];
}

function by(sorted: string): (one: Row, other: Row) => number {
  const field = sorted.replace(/^-/, "");
  const sign = sorted.startsWith("-") ? -1 : 1;
  return (one, other) => {
    const a = one[field] ?? null, b = other[field] ?? null;
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  };
}

function health(page: Page): void {
  const fields = ["critical_triggers", "warning_triggers", "ok_triggers"];
  const head = ({ summary }: Answer): HTMLElement => facts(fields.map((field) => ({
    name: texts.fields[field] ?? field, value: figure(summary?.[field], "count", "UTC"),
  })));
  addPanel(page, {
    title: texts.triggers.health, wide: true, question: { path: "triggers/health", parameters: { limit: 10 } }, head,
    columns: [
      { field: "trigger_name", kind: "text", cell: (row) => nameOf(page, row) },
      { field: "health_status", kind: "status" }, { field: "success_rate", kind: "percent" },
      { field: "total_executions", kind: "count" }, { field: "failure_count", kind: "count" },
    ],
  });
}
