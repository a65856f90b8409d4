// What operators ask for: a refresh, a pause, its end. The daemon that leads does it; this waits for what became of it.

import { askAction, actionState, Trouble, type ActionKind, type ActionState } from "./client";
import { h, unique } from "./dom";
import { shown, time } from "./format";
import type { Page } from "./page";
import { texts } from "./texts";
import { sentence } from "./trouble";

const LENGTHS = ["30m", "1h", "2h", "8h", "1d", "7d"];
const MOST_WAIT_MS = 8000;

/** Make the form. Everybody may open it; the API says who is no operator. */
export function operators(page: Page): HTMLElement {
  const words = texts.operators;
  const reason = h("input", { id: unique("reason"), type: "text", maxlength: 500, autocomplete: "off" });
  const length = h("select", { id: unique("length") }, LENGTHS.map((each) => h("option", { value: each, selected: each === "1h" }, words.lengths[each] ?? each)));
  const told = h("p", { role: "status" });
  const buttons: HTMLButtonElement[] = [];
  const ask = async (kind: ActionKind): Promise<void> => {
    if (kind === "pause" && !reason.value.trim()) {
      told.textContent = words.reasonMissing;
      reason.focus();
      return;
    }
    const body: Record<string, string> = reason.value.trim() ? { reason: reason.value.trim() } : {};
    if (kind === "pause") body["for"] = length.value;
    for (const button of buttons) button.disabled = true;
    try {
      await follow(page, told, await askAction(kind, body, page.signal));
    } catch (error) {
      if (!page.signal.aborted) told.textContent = error instanceof Trouble ? sentence(error) : String(error);
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  };
  const button = (kind: ActionKind): HTMLButtonElement => {
    const made = h("button", { type: "button", click: () => void ask(kind) }, words.actions[kind]);
    buttons.push(made);
    return made;
  };
  const field = (name: string, input: HTMLElement): HTMLElement => h("div", { class: "field" }, h("label", { for: input.id }, name), input);
  return h("details", { class: "panel full" }, h("summary", {}, words.title),
    h("div", { class: "controls" }, field(words.reason, reason), field(words.length, length)),
    h("p", { class: "buttons" }, button("refresh"), " ", button("pause"), " ", button("resume")), told);
}

/** Say what becomes of a request until it is over. */
async function follow(page: Page, told: HTMLElement, asked: ActionState): Promise<void> {
  let state = asked;
  for (let wait = 500; !["ended", "expired"].includes(state.state); wait = Math.min(MOST_WAIT_MS, wait * 2)) {
    told.textContent = state.leader ? texts.operators.states[state.state] ?? state.state : texts.operators.noLeader;
    await new Promise((done) => setTimeout(done, wait));
    if (page.signal.aborted) return;
    state = await actionState(state.request_id, page.signal);
  }
  told.textContent = outcome(page, state);
  page.renew();
}

function outcome(page: Page, state: ActionState): string {
  const words = texts.operators;
  if (state.state === "expired") return words.expired;
  const detail = state.detail ? ` ${state.detail}` : "";
  if (state.outcome !== "ok") return `${words.ended(state.outcome ?? "")}${detail}`;
  if (state.paused_until) return words.pausedUntil(time(state.paused_until, page.state.zone));
  if (state.pauses_ended !== null) return words.resumed(shown(state.pauses_ended, "count", "UTC"));
  return words.refreshed;
}
