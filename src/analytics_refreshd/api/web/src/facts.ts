// A few large figures with their names.

import { h, type Child } from "./dom";

export interface Fact {
  name: string;
  value: Child;
  beside?: Child;
  /** Whether it is a text, which may be long. */
  words?: boolean;
}

/** Make a list of figures. */
export function facts(given: Fact[]): HTMLElement {
  return h("dl", { class: "facts" }, given.map(({ name, value, beside, words }) =>
    h("div", { class: words ? "words" : null }, h("dt", {}, name), h("dd", {}, value, beside && h("small", {}, beside)))));
}
