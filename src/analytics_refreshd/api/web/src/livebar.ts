// Says whether figures are live, pauses them, and asks for newer ones after a refresh.

import { leftOver, type Row, type Trouble } from "./client";
import { h } from "./dom";
import { clockTime, shown } from "./format";
import { listen, type Refresh, type Summary } from "./live";
import type { Page } from "./page";
import { texts } from "./texts";
import { sentence } from "./trouble";

/** A screen reader hears of figures at most this often. */
const TELL_MS = 60_000;
const RENEW_MS = 60_000;

/** Stays from page to page: who paused wants quiet. */
let paused = false;

/** Make the bar. `show` puts the newest summary on the page; null: this page has no place for it. */
export function liveBar(page: Page, show: ((row: Row, approximate: string[]) => void) | null): HTMLElement {
  const words = h("p", { class: "soft" });
  const told = h("p", { role: "status", class: "hidden" });
  const button = h("button", { type: "button", class: "small", "data-keep": "live" });
  const bar = h("section", { class: "live full", "aria-label": texts.live.name }, words, button, told);
  const say = (text: string, on = false): void => {
    words.textContent = text;
    bar.classList.toggle("on", on);
  };
  const figures = new Figures(page, say, told, show);
  let session: AbortController | null = null;
  const follow = (): void => {
    const wanted = !paused && !document.hidden && !page.signal.aborted;
    button.textContent = paused ? texts.live.resume : texts.live.pause;
    if (wanted && session === null) {
      session = new AbortController();
      say(texts.live.opening);
      void listen(page.state.organization, figures, session.signal);
    } else if (!wanted && session !== null) {
      session.abort();
      session = null;
    }
    if (paused) say(texts.live.paused);
  };
  button.addEventListener("click", () => {
    paused = !paused;
    follow();
  });
  document.addEventListener("visibilitychange", follow, { signal: page.signal });
  page.signal.addEventListener("abort", follow);
  follow();
  return bar;
}

class Figures {
  private toldAt = -Infinity;
  private renewedAt = performance.now();
  private last = "";
  private now = "";

  constructor(
    private readonly page: Page,
    private readonly say: (text: string, on?: boolean) => void,
    private readonly told: HTMLElement,
    private readonly show: ((row: Row, approximate: string[]) => void) | null,
  ) {}

  open = (open: boolean, trouble: Trouble | null): void => {
    if (open) this.say(this.now || texts.live.refreshed, true);
    else if (trouble?.status === 401) this.page.report(trouble);
    else this.say(trouble ? sentence(trouble) : texts.live.lost);
  };

  summary = ({ data, meta }: Summary): void => {
    if (!this.show) return;
    const { zone } = this.page.state;
    this.show(data, meta.approximate);
    this.now = meta.live && meta.as_of ? texts.live.exact(clockTime(meta.as_of, zone)) : texts.live.refreshed;
    this.say(this.now, true);
    if (performance.now() - this.toldAt < TELL_MS) return;
    this.toldAt = performance.now();
    this.told.textContent = texts.live.says(shown(data["success_rate"], "percent", zone) || texts.noFigure, shown(data["total_executions"], "count", zone));
  };

  refresh = ({ data }: Refresh): void => {
    const name = JSON.stringify(data.views.map((view) => view.last_refresh));
    const first = this.last === "";
    const changed = name !== this.last;
    this.last = name;
    if (data.refreshing_since) this.say(texts.live.refreshing, true);
    else this.say(this.now || texts.live.refreshed, true);
    if (!first && changed) this.renew();
  };

  /** Newer figures: at most once a minute, and only while most of the hour's requests is left. */
  private renew(): void {
    const left = leftOver();
    const plenty = left === null || left.remaining > left.limit / 2;
    if (!plenty || performance.now() - this.renewedAt < RENEW_MS) {
      this.now = texts.live.newer;
      this.say(this.now, true);
      return;
    }
    this.renewedAt = performance.now();
    this.now = "";
    this.page.renew();
  }
}
