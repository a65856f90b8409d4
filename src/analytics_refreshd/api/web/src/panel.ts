// A panel: one question, its chart, its table and its file.

import { picture, type Chart } from "./chart";
import { askCsv, leftOver, Trouble, type Answer, type Meta, type Question, type Row } from "./client";
import { save } from "./csv";
import { h, unique, type Child } from "./dom";
import { ago, count, time } from "./format";
import type { Page } from "./page";
import { table, type Column } from "./table";
import { texts } from "./texts";
import { box, isShared, sentence } from "./trouble";

export interface Panel {
  title: string;
  question: Question;
  columns: Column[];
  /** The rows that are shown, where they are not the answer's own. */
  rows?: (answer: Answer) => Row[];
  /** The chart of an answer; null where it has nothing to draw. Without it the table is all. */
  chart?: (answer: Answer) => Chart | null;
  /** What stands above the chart. */
  head?: (answer: Answer) => Child;
  notes?: string[];
  /** What is said of no rows. */
  empty?: string;
  /** Whether an answer of rows is nothing all the same, such as hours in which nothing ran. */
  isEmpty?: (answer: Answer) => boolean;
  wide?: boolean;
  sorted?: string;
  sort?: (field: string) => void;
  /** What stands below the table, such as the pages of a list. */
  foot?: (answer: Answer) => Child;
}

/** Above this cost a question is asked by itself only where plenty is left of the hour. */
const DEAR = 5;
const PLENTY = 20;

/** Put a panel on the page and fill it. */
export function addPanel(page: Page, panel: Panel): HTMLElement {
  const id = unique("panel");
  const content = h("div", { class: "content" });
  const section = h("section", { class: panel.wide ? "panel full" : "panel", "aria-labelledby": id },
    h("h2", { id }, panel.title), content);
  page.add(section);
  if ((panel.question.cost ?? 1) < DEAR) {
    page.loading(fill(page, panel, content, false));
    page.onRenewal(() => page.loading(renew(page, panel, content)));
  } else page.loading(page.first.then(() => fillDear(page, panel, content)));
  return section;
}

/** Fill a panel at once where plenty is left of the hour, else at a press. */
async function fillDear(page: Page, panel: Panel, content: HTMLElement): Promise<void> {
  const cost = panel.question.cost ?? 1;
  const left = leftOver();
  if (left === null || left.remaining >= cost * PLENTY) {
    await fill(page, panel, content, false);
    return;
  }
  const load = (): void => page.loading(fill(page, panel, content, false));
  content.replaceChildren(h("button", { type: "button", click: load }, texts.ask(count(cost))));
}

/** Put newer figures where older ones are. Who reads in the panel, and what is open, stays. */
async function renew(page: Page, panel: Panel, content: HTMLElement): Promise<void> {
  if (content.contains(document.activeElement) || content.querySelector(".trouble, .wait")) return;
  try {
    const fresh = filled(page, panel, await page.ask(panel.question));
    if (page.signal.aborted || content.contains(document.activeElement)) return;
    const open = content.querySelector("details")?.open ?? false;
    content.replaceChildren(...fresh);
    const details = content.querySelector("details");
    if (details) details.open = open;
  } catch {
    // the older figures stay, with their time; a press on Refresh says what is wrong
  }
}

async function fill(page: Page, panel: Panel, content: HTMLElement, again: boolean): Promise<void> {
  content.replaceChildren(h("p", { class: "soft wait" }, texts.loading));
  content.setAttribute("aria-busy", "true");
  try {
    const answer = await page.ask(panel.question, again);
    content.replaceChildren(...filled(page, panel, answer));
  } catch (error) {
    if (page.signal.aborted) return;
    const trouble = error instanceof Trouble ? error : new Trouble(-1, "", String(error));
    if (trouble.status === 401 || isShared(trouble)) {
      page.report(trouble);
      content.replaceChildren(h("p", { class: "soft" }, texts.trouble.above));
    } else {
      content.replaceChildren(box(trouble, page.state.zone, () => page.loading(fill(page, panel, content, true)), page.signal));
    }
  } finally {
    content.removeAttribute("aria-busy");
  }
}

function filled(page: Page, panel: Panel, whole: Answer): Node[] {
  const answer = panel.rows ? { ...whole, rows: panel.rows(whole) } : whole;
  const { meta } = answer;
  const nothing = answer.rows.length === 0 || panel.isEmpty?.(answer) === true;
  const place = h("div", {});
  if (nothing) {
    place.append(h("p", { class: "empty" }, panel.empty ?? texts.empty));
    if (answer.rows.length === 0) return [place, told(page, panel, meta)];
  }
  const chart = nothing ? null : panel.chart?.(answer) ?? null;
  const { zone } = page.state;
  const options = {
    caption: texts.table(panel.title), zone, approximate: meta.approximate,
    ...(panel.sort ? { sort: panel.sort } : {}), ...(panel.sorted ? { sorted: panel.sorted } : {}),
  };
  const rows = table(answer.rows, panel.columns, options);
  const head = panel.head?.(answer);
  if (head && !nothing) place.append(h("div", {}, head));
  if (chart) {
    place.append(picture(panel.title, chart, page.signal), details(texts.table(panel.title), rows));
  } else if (panel.chart) {
    place.append(details(texts.table(panel.title), rows));
  } else {
    place.append(rows);
  }
  const foot = panel.foot?.(answer);
  if (foot) place.append(h("div", {}, foot));
  return [place, told(page, panel, meta)];
}

function details(summary: string, content: HTMLElement): HTMLElement {
  return h("details", {}, h("summary", {}, summary), content);
}

/** How old the figures are, what is not exact, and the file. */
function told(page: Page, panel: Panel, meta: Meta): HTMLElement {
  const shows = panel.columns.some((column) => meta.approximate.includes(column.field));
  return h("div", { class: "told" },
    h("p", { class: "soft" }, age(page, meta), meta.stale && [" ", h("strong", { class: "warn" }, `▲ ${texts.stale}`)],
      shows && ` · ${texts.approximate}`, [...(panel.notes ?? []), ...meta.notes].map((note) => ` · ${note}`)),
    file(page, panel));
}

function age(page: Page, meta: Meta): Child {
  if (meta.as_of === null) return texts.unknownAge;
  if (Math.abs(Date.parse(meta.generated_at) - Date.parse(meta.as_of)) < 1000) return texts.now;
  const at = time(meta.as_of, page.state.zone);
  return h("span", { title: at }, texts.asOf(`${ago(meta.as_of, Date.parse(meta.generated_at))} (${at})`));
}

function file(page: Page, panel: Panel): HTMLElement {
  const failed = h("span", { role: "status", class: "warn" });
  const fetchFile = async (): Promise<void> => {
    failed.textContent = "";
    try {
      const text = await askCsv(panel.question, page.state.organization, page.signal);
      save(text, `${panel.question.path.replaceAll(/[^\w-]+/g, "-")}.csv`);
    } catch (error) {
      if (!page.signal.aborted) failed.textContent = `${texts.csvFailed}: ${error instanceof Trouble ? sentence(error) : ""}`;
    }
  };
  return h("p", {}, failed, " ", h("button", { type: "button", class: "small", "aria-label": texts.csvOf(panel.title), click: () => void fetchFile() }, texts.csv));
}

/** What a row's field holds as a number. */
export function numbers(answer: Answer, field: string): (number | null)[] {
  return answer.rows.map((row) => {
    const value = row[field];
    return value === null || value === undefined || value === "" ? null : Number(value);
  });
}
