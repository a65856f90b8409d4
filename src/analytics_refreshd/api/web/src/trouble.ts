// What to say when there is no answer, and when to try again.

import { Trouble } from "./client";
import { h } from "./dom";
import { time } from "./format";
import { texts } from "./texts";

const SOON_SECONDS = 120;

/** Whether the trouble is everybody's on the page, so that it is said once. */
export function isShared(trouble: Trouble): boolean {
  return [0, 429, 502, 503, 504].includes(trouble.status) || trouble.code === "missing_organization";
}

/** One sentence of what happened, and the API's own where it has one. */
export function sentence(trouble: Trouble): string {
  const known = texts.trouble as unknown as Record<string, string>;
  const first = known[String(trouble.status)] ?? texts.trouble.other(String(trouble.status));
  const own = trouble.message ? ` ${trouble.message.charAt(0).toUpperCase()}${trouble.message.slice(1)}.` : "";
  const next = trouble.code === "missing_organization" ? ` ${texts.trouble.organization}` : "";
  // where the API's own sentence says it all
  return own && [400, 404].includes(trouble.status) ? `${own.trim()}${next}` : `${first}${own}${next}`;
}

/** Make the box that says it. Where it may be over soon, `retry` is called by itself. */
export function box(trouble: Trouble, zone: string, retry: () => void, signal: AbortSignal): HTMLElement {
  const again = h("button", { type: "button", click: retry }, texts.trouble.retry);
  const wait = trouble.retryAfter ?? (trouble.status === 0 ? 5 : null);
  const place = h("div", { class: "trouble" },
    h("p", { role: "alert" }, sentence(trouble)));
  if (wait === null) {
    place.append(again);
  } else if (wait > SOON_SECONDS) {
    place.append(h("p", {}, texts.trouble.retryAt(time(Date.now() + wait * 1000, zone))), again);
  } else {
    // not in the alert: a screen reader would say every second
    const left = h("p", { class: "soft" });
    place.append(left, again);
    countDown(wait, left, retry, signal);
  }
  return place;
}

function countDown(seconds: number, place: HTMLElement, over: () => void, signal: AbortSignal): void {
  const end = performance.now() + seconds * 1000;
  const tick = (): void => {
    const left = Math.ceil((end - performance.now()) / 1000);
    place.textContent = texts.trouble.retryIn(String(Math.max(0, left)));
    if (left > 0) return;
    clearInterval(timer);
    over();
  };
  const timer = setInterval(tick, 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
  tick();
}
