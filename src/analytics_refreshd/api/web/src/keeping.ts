// Names and keeps what a page shows, so that others of the organization find it.

import { keepQuestion, Trouble } from "./client";
import { h, unique } from "./dom";
import { link } from "./links";
import type { Page } from "./page";
import { elsewhere, format } from "./state";
import { texts } from "./texts";
import { sentence } from "./trouble";

/** A dialog over the page, gone with it. Escape closes it, and the focus goes back to what had it. */
export function openDialog(page: Page, title: string, ...content: Node[]): HTMLDialogElement {
  const id = unique("dialog");
  const dialog = h("dialog", { "aria-labelledby": id }, h("h2", { id }, title), ...content);
  dialog.addEventListener("close", () => dialog.remove());
  page.signal.addEventListener("abort", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A form with its buttons, which says what went wrong. `act` is done at a press, and closes the dialog itself. */
export function dialogForm(name: string, content: Node[], act: () => Promise<void>, close: () => void): HTMLElement {
  const told = h("p", { role: "alert", class: "bad" });
  const button = h("button", { type: "submit", class: "main" }, name);
  const submit = (event: Event): void => {
    event.preventDefault();
    button.disabled = true;
    told.textContent = "";
    act().catch((error: unknown) => {
      told.textContent = error instanceof Trouble ? sentence(error) : String(error);
    }).finally(() => { button.disabled = false; });
  };
  return h("form", { submit }, content, told, h("p", { class: "buttons" }, button, " ", h("button", { type: "button", click: close }, texts.questions.cancel)));
}

/** Make the field for a name. */
export function nameField(given: string): { field: HTMLElement; input: HTMLInputElement } {
  const input = h("input", { id: unique("name"), type: "text", maxlength: 100, required: true, value: given, autocomplete: "off" });
  return { input, field: h("div", { class: "field" }, h("label", { for: input.id }, texts.questions.name), input) };
}

/** Make the button that keeps what the page shows. */
export function keepButton(page: Page): HTMLElement {
  return h("button", { type: "button", click: () => askName(page) }, texts.questions.keep);
}

function askName(page: Page): void {
  const words = texts.questions;
  const { field, input } = nameField("");
  const close = (): void => dialog.close();
  const keep = async (): Promise<void> => {
    const kept = await keepQuestion({ name: input.value, address: format(page.state) }, page.state.organization, page.signal);
    const done = h("button", { type: "button", class: "main", click: close }, words.close);
    const all = link(page, elsewhere(page.state, { page: "questions" }), words.all);
    form.replaceWith(h("div", {}, h("p", { role: "status" }, words.kept(kept.name)), h("p", { class: "buttons" }, done, " ", all)));
    done.focus();
  };
  const form = dialogForm(words.keepIt, [h("p", {}, words.why), field], keep, close);
  const dialog = openDialog(page, words.keep, form);
  input.focus();
}
