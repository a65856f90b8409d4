// The pages of a long list.

import { h } from "./dom";
import { count } from "./format";
import { texts } from "./texts";

export const PAGE_ROWS = 25;
const MOST_OFFSET = 10_000;

/** Make the buttons to go through a list of `total` rows; null where all are on one page. */
export function pager(offset: number, shown: number, total: number, go: (offset: number) => void): HTMLElement | null {
  if (total <= PAGE_ROWS && offset === 0) return null;
  const to = (name: string, keep: string, at: number, possible: boolean): HTMLElement =>
    h("button", { type: "button", "data-keep": keep, disabled: !possible, click: () => go(at) }, name);
  const next = offset + PAGE_ROWS;
  return h("nav", { class: "pager", "aria-label": texts.pager.name },
    to(texts.pager.previous, "previous", Math.max(0, offset - PAGE_ROWS), offset > 0),
    h("span", {}, texts.pager.shown(count(Math.min(total, offset + 1)), count(offset + shown), count(total))),
    to(texts.pager.next, "next", next, next < total && next <= MOST_OFFSET));
}
