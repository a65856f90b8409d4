// Tables of rows.

import type { Row, Value } from "./client";
import { h, type Child } from "./dom";
import { isNumber, shown, type Kind } from "./format";
import { texts } from "./texts";

export interface Column {
  field: string;
  kind: Kind;
  /** Another heading than the field's own. */
  title?: string;
  /** What the cell holds instead of the value as text. */
  cell?: (row: Row) => Child;
}

export interface TableOptions {
  caption: string;
  zone: string;
  approximate?: string[];
  /** The field by which rows are sorted, after "-" for descending; with `sort` headings become buttons. */
  sorted?: string;
  sort?: (field: string) => void;
}

const MARKS: Record<string, [string, string]> = {
  healthy: ["good", "✓"], OK: ["good", "✓"],
  degraded: ["warn", "▲"], WARNING: ["warn", "▲"],
  unhealthy: ["bad", "✕"], CRITICAL: ["bad", "✕"],
};

/** A word of health with its sign: never by colour alone. */
export function badge(value: string): HTMLElement {
  const [tone, sign] = MARKS[value] ?? ["off", "?"];
  return h("span", { class: `badge ${tone}` }, h("span", { "aria-hidden": "true" }, `${sign} `), shown(value, "status", "UTC"));
}

/** A value as the content of an element. */
export function figure(value: Value | undefined, kind: Kind, zone: string): Child {
  if (value === null || value === undefined || value === "") {
    return [h("span", { "aria-hidden": "true" }, "–"), h("span", { class: "hidden" }, texts.noFigure)];
  }
  return kind === "status" ? badge(String(value)) : shown(value, kind, zone);
}

export function title(column: Column): string {
  return column.title ?? texts.fields[column.field] ?? column.field;
}

function heading(column: Column, options: TableOptions): HTMLElement {
  const name = title(column) + (options.approximate?.includes(column.field) ? " ≈" : "");
  const numeric = isNumber(column.kind) ? "num" : null;
  const { sort, sorted } = options;
  if (!sort) return h("th", { scope: "col", class: numeric }, name);
  const direction = sorted === column.field ? "ascending" : sorted === `-${column.field}` ? "descending" : null;
  const arrow = { ascending: " ↑", descending: " ↓", none: "" }[direction ?? "none"];
  const button = h("button", { type: "button", class: "sort", "data-keep": `sort ${column.field}`, click: () => sort(column.field) },
    name, h("span", { "aria-hidden": "true" }, arrow));
  return h("th", { scope: "col", class: numeric, "aria-sort": direction }, button);
}

function classOf({ kind }: Column): string {
  return isNumber(kind) ? "num" : kind === "text" ? "words" : ["time", "hour", "day", "clock"].includes(kind) ? "when" : "other";
}

/** Make a table. The first column names its row. */
export function table(rows: Row[], columns: Column[], options: TableOptions): HTMLElement {
  const line = (row: Row): HTMLElement => h("tr", {}, columns.map((column, at) => {
    const attributes = { class: classOf(column) };
    const content = column.cell ? column.cell(row) : figure(row[column.field], column.kind, options.zone);
    return at === 0 ? h("th", { scope: "row", ...attributes }, content) : h("td", attributes, content);
  }));
  return h("div", { class: "wide", role: "region", "aria-label": options.caption, tabindex: "0" },
    h("table", {},
      h("caption", { class: "hidden" }, options.caption),
      h("thead", {}, h("tr", {}, columns.map((column) => heading(column, options)))),
      h("tbody", {}, rows.map(line))));
}
