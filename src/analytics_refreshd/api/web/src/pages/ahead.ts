// When limits are reached, for keys for all organizations.

import type { Row } from "../client";
import { h, type Child } from "../dom";
import { facts } from "../facts";
import { dayOf } from "../format";
import { texts } from "../texts";

interface Outlook {
  quantity: string;
  state: string;
  reached_at: string | null;
  soon: boolean;
  text: string;
}

/** Each limit, when it is reached, and the sentence on it. */
export function ahead(summary: Row | null, zone: string): Child {
  const told = summary?.["outlook"] as unknown as Outlook[] | undefined;
  if (!told?.length) return null;
  const given = told.map(({ quantity, state, reached_at, soon, text }) => {
    const when = reached_at === null ? texts.freshness.reached[state] ?? texts.freshness.reached["unknown"] : dayOf(reached_at, zone);
    const sign = soon ? h("span", { class: "warn" }, h("span", { "aria-hidden": "true" }, "▲ "), when) : when;
    return { name: texts.freshness.quantities[quantity] ?? quantity, value: sign, beside: `${text.charAt(0).toUpperCase()}${text.slice(1)}.`, words: true };
  });
  return [h("h3", {}, texts.freshness.ahead), facts(given)];
}
