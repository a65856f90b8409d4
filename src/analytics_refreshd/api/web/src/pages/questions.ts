// Which questions did somebody keep?

import { listQuestions, removeQuestion, replaceQuestion, Trouble, type Kept } from "../client";
import { h, unique, type Child } from "../dom";
import { dialogForm, nameField, openDialog } from "../keeping";
import { link } from "../links";
import type { Page } from "../page";
import { pager, PAGE_ROWS } from "../pager";
import { parse } from "../state";
import { table } from "../table";
import { texts } from "../texts";
import { box, isShared } from "../trouble";

/** Reads the list again, and puts the focus on a question of it, or on its heading. */
type Again = (id: string | null) => void;

export function questions(page: Page): void {
  const heading = h("h2", { id: unique("panel"), tabindex: "-1" }, texts.questions.list);
  const content = h("div", { class: "content" }, h("p", { class: "soft wait" }, texts.loading));
  page.add(h("section", { class: "panel full", "aria-labelledby": heading.id }, heading, h("p", { class: "soft" }, texts.questions.note), content));
  const load = async (): Promise<void> => {
    try {
      const { kept, total } = await listQuestions({ limit: PAGE_ROWS, offset: page.state.offset }, page.state.organization, page.signal);
      if (total && !kept.length) page.go({ ...page.state, offset: 0 });
      else content.replaceChildren(...listed(page, kept, total, again));
    } catch (error) {
      if (page.signal.aborted) return;
      const trouble = error instanceof Trouble ? error : new Trouble(-1, "", String(error));
      if (trouble.status === 401 || isShared(trouble)) {
        page.report(trouble);
        content.replaceChildren(h("p", { class: "soft" }, texts.trouble.above));
      } else {
        content.replaceChildren(box(trouble, page.state.zone, () => page.loading(load()), page.signal));
      }
    }
  };
  const again: Again = (id) => page.loading(load().then(() => {
    const links = [...content.querySelectorAll<HTMLElement>("[data-question]")];
    (links.find((each) => each.dataset["question"] === id) ?? heading).focus();
  }));
  page.loading(load());
}

function listed(page: Page, kept: Kept[], total: number, again: Again): Node[] {
  if (!total) return [h("p", { class: "empty" }, texts.questions.none)];
  const of = new Map(kept.map((each) => [each.question_id, each]));
  const cell = (draw: (question: Kept) => Child) => (row: { [field: string]: unknown }): Child => {
    const question = of.get(String(row["question_id"]));
    return question && draw(question);
  };
  const rows = kept.map(({ question_id, organization_id, kept_at }) => ({ question_id, organization_id, kept_at }));
  const list = table(rows, [
    { field: "question_id", kind: "text", title: texts.questions.name, cell: cell((question) => open(page, question)) },
    { field: "organization_id", kind: "text" },
    { field: "kept_at", kind: "time" },
    { field: "question_id", kind: "status", title: texts.questions.change, cell: cell((question) => buttons(page, question, again)) },
  ], { caption: texts.table(texts.questions.list), zone: page.state.zone });
  const pages = pager(page.state.offset, kept.length, total, (offset) => page.go({ ...page.state, offset }));
  return [list, ...(pages ? [pages] : [])];
}

function open(page: Page, question: Kept): HTMLElement {
  const state = parse(question.address);
  const made = link(page, { ...state, organization: state.organization || question.organization_id || "" }, question.name);
  made.dataset["question"] = question.question_id;
  return made;
}

function buttons(page: Page, question: Kept, again: Again): HTMLElement[] {
  const words = texts.questions;
  const small = (name: string, spoken: string, click: () => void): HTMLElement =>
    h("button", { type: "button", class: "small", "aria-label": spoken, click }, name);
  return [
    small(words.rename, words.renameOf(question.name), () => rename(page, question, again)),
    small(words.remove, words.removeOf(question.name), () => remove(page, question, again)),
  ];
}

function rename(page: Page, question: Kept, again: Again): void {
  const { field, input } = nameField(question.name);
  const close = (): void => dialog.close();
  const act = async (): Promise<void> => {
    await replaceQuestion(question.question_id, { name: input.value, address: question.address }, page.state.organization, page.signal);
    close();
    again(question.question_id);
  };
  const dialog = openDialog(page, texts.questions.renameOf(question.name), dialogForm(texts.questions.rename, [field], act, close));
  input.select();
}

function remove(page: Page, question: Kept, again: Again): void {
  const close = (): void => dialog.close();
  const act = async (): Promise<void> => {
    await removeQuestion(question.question_id, page.state.organization, page.signal);
    close();
    again(null);
  };
  const dialog = openDialog(page, texts.questions.removeOf(question.name), dialogForm(texts.questions.remove, [h("p", {}, texts.questions.forAll)], act, close));
}
