// The frame of all pages: header, controls, messages, and what is loading.

import { ask, leftOver, Trouble, type Answer } from "./client";
import { controls } from "./controls";
import { append, h } from "./dom";
import { count } from "./format";
import { keepButton } from "./keeping";
import { link } from "./links";
import type { Draw, Page } from "./page";
import { forgetKey, readKey } from "./session";
import { signIn } from "./signin";
import { elsewhere, format, PAGES, parse, type PageName, type State } from "./state";
import { texts } from "./texts";
import { box, sentence } from "./trouble";

/** Shows what the address says, and follows it. */
export class Shell {
  private shown = new AbortController();
  /** Whether a proxy signs the requests, so that no key is asked for. */
  private signed = false;
  private readonly header = h("header", {});
  private readonly main = h("main", { id: "main", tabindex: "-1" });
  private readonly footer = h("footer", {});
  /** The name of what had the focus before the page was drawn again. */
  private kept: string | null = null;
  private readonly status = h("p", { role: "status", class: "hidden" });

  constructor(private readonly draws: Record<PageName, Draw>) {}

  start(): void {
    document.documentElement.lang = texts.language;
    const skip = h("a", { class: "skip", href: "#main", click: (event) => {
      event.preventDefault();
      this.main.focus();
    } }, texts.skip);
    document.body.replaceChildren(skip, this.header, this.main, this.footer, this.status);
    addEventListener("popstate", () => this.show(parse(location.search)));
    void this.open();
  }

  /** Show the address, or ask for a key where neither this tab nor a proxy has one. */
  private async open(): Promise<void> {
    const state = parse(location.search);
    if (!readKey() && !this.signed) {
      try {
        await ask({ path: "meta/queries" }, state.organization, this.shown.signal);
        this.signed = true;
      } catch (error) {
        if (error instanceof Trouble && error.status === 401) {
          this.askForKey(state, null);
          return;
        }
        // any other trouble is that of the page, which says it
      }
    }
    this.show(state);
  }

  private askForKey(state: State, why: string | null): void {
    this.shown.abort();
    this.shown = new AbortController();
    document.title = `${texts.signIn.title} · ${texts.title}`;
    this.header.replaceChildren(h("p", { class: "brand" }, texts.title));
    const form = signIn(why, () => this.show(state));
    this.main.replaceChildren(h("h1", {}, texts.signIn.title), form);
    this.foot();
    form.querySelector("input")?.focus();
  }

  private go(state: State, moved: boolean): void {
    history.pushState(null, "", format(state));
    this.show(state);
    if (moved) this.main.querySelector("h1")?.focus();
  }

  /** Draw the page; `fresh` takes nothing from what the browser kept. */
  private show(state: State, fresh = false): void {
    this.shown.abort();
    this.shown = new AbortController();
    this.kept = document.activeElement?.getAttribute("data-keep") ?? null;
    history.replaceState(null, "", format(state));
    const name = texts.pages[state.page];
    document.title = `${name} · ${texts.title}`;
    const messages = h("div", { class: "messages" });
    const grid = h("div", { class: "panels" });
    const page = this.page(state, fresh, messages, grid);
    this.head(page);
    this.main.replaceChildren(h("h1", { tabindex: "-1" }, name), messages, grid);
    this.draws[state.page](page);
    page.drawn();
    this.foot();
  }

  /** Give the focus back to what had it, once that is there again. */
  private focusAgain(): void {
    if (this.kept === null || document.activeElement !== document.body) return;
    const again = [...this.main.querySelectorAll<HTMLElement>("[data-keep]")].find((each) => each.dataset["keep"] === this.kept);
    again?.focus({ preventScroll: true });
  }

  private page(state: State, fresh: boolean, messages: HTMLElement, grid: HTMLElement): Page {
    const { signal } = this.shown;
    let waiting = 0;
    const told = new Set<string>();
    const report = (trouble: Trouble): void => {
      if (signal.aborted) return;
      if (trouble.status === 401) {
        forgetKey();
        this.askForKey(state, `${texts.signIn.refused} ${sentence(trouble)}`);
        return;
      }
      if (told.size) return;
      told.add(trouble.code);
      messages.replaceChildren(box(trouble, state.zone, () => this.show(state), signal));
    };
    const loading = (work: Promise<void>): void => {
      waiting += 1;
      void work.then(() => {
        waiting -= 1;
        this.focusAgain();
        if (waiting || signal.aborted) return;
        this.status.textContent = texts.loaded(texts.pages[state.page]);
        this.main.dataset["loaded"] = state.page;
        this.foot();
      });
    };
    const answers = new Map<string, Promise<Answer>>();
    let renewed = fresh;
    const renewals: (() => void)[] = [];
    let answered = (): void => undefined;
    const first = new Promise<void>((done) => { answered = done; });
    delete this.main.dataset["loaded"];
    this.status.textContent = "";
    return {
      state, now: Date.now(), signal, report, loading, first,
      drawn: () => {
        if (answers.size === 0) answered();
      },
      onRenewal: (again) => void renewals.push(again),
      renew: () => {
        answers.clear();
        renewed = true;
        for (const again of renewals) again();
      },
      ask: (question, again) => {
        const name = JSON.stringify([question.path, question.parameters]);
        const known = again ? undefined : answers.get(name);
        const answer = known ?? ask(question, state.organization, signal, again === true || renewed);
        answers.set(name, answer);
        answer.then(answered, answered);
        return answer;
      },
      add: (...children) => append(grid, children),
      go: (next) => this.go(next, next.page !== state.page || next.trigger !== state.trigger),
    };
  }

  private head(page: Page): void {
    const { state } = page;
    const focused = document.activeElement instanceof HTMLElement && this.header.contains(document.activeElement)
      ? [...this.header.querySelectorAll("input, select, button, a")].indexOf(document.activeElement) : -1;
    const links = PAGES.map((name) => h("li", {}, link(page, elsewhere(state, { page: name }), texts.pages[name], name === state.page)));
    const again = h("button", { type: "button", click: () => this.show(state, true) }, texts.refresh);
    this.header.replaceChildren(
      h("div", { class: "bar" }, h("p", { class: "brand" }, texts.title), h("nav", { "aria-label": texts.navigation }, h("ul", {}, links))),
      h("div", { class: "bar" }, controls(state, (changes) => page.go({ ...state, ...changes })),
        h("p", { class: "buttons" }, again, " ", state.page !== "questions" && keepButton(page))));
    const stops = this.header.querySelectorAll<HTMLElement>("input, select, button, a");
    if (focused >= 0) stops[focused]?.focus();
  }

  private foot(): void {
    const left = leftOver();
    const leave = h("button", { type: "button", class: "small", click: () => {
      forgetKey();
      this.askForKey(parse(location.search), null);
    } }, texts.signOut);
    this.footer.replaceChildren(
      h("p", { class: "soft" }, h("a", { href: "api/v1/docs" }, texts.api), " · ", h("a", { href: "pages/licences.txt" }, texts.licences),
        left && ` · ${texts.budget(count(left.remaining), count(left.limit))}`, " ", readKey() && leave));
  }
}
