// How fresh are the views that all figures come from?

import type { Answer } from "../client";
import { h, type Child } from "../dom";
import { time } from "../format";
import { operators } from "../operators";
import { ahead } from "./ahead";
import type { Page } from "../page";
import { addPanel } from "../panel";
import type { Column } from "../table";
import { texts } from "../texts";

/** A name that may break after each of its parts, as on a telephone. */
function breakable(name: string): Child {
  return name.split(/(?<=_)/).map((part, at) => (at === 0 ? part : [h("wbr", {}), part]));
}

export function freshness(page: Page): void {
  const columns: Column[] = [
    { field: "view_name", kind: "text", cell: (row) => breakable(String(row["view_name"])) },
    { field: "age_minutes", kind: "minutes" },
    { field: "last_refresh", kind: "time" },
    { field: "row_count", kind: "count" },
    { field: "size_bytes", kind: "bytes" },
  ];
  const head = (answer: Answer): HTMLElement => {
    const fresh = answer.summary?.["all_views_fresh"] === true;
    const [tone, sign, words] = fresh ? ["good", "✓", texts.freshness.fresh] : ["bad", "▲", texts.freshness.stale];
    return h("p", { class: `headline ${tone}` }, h("span", { "aria-hidden": "true" }, `${sign} `), words);
  };
  const foot = ({ meta, summary }: Answer): Child => [
    meta.frozen_until !== null && h("p", { class: "soft" }, texts.freshness.frozen(time(meta.frozen_until, page.state.zone))),
    ahead(summary, page.state.zone),
  ];
  addPanel(page, {
    title: texts.freshness.title, wide: true, question: { path: "meta/refresh-status" }, columns, head, foot, notes: [texts.freshness.note],
  });
  page.add(operators(page));
}
