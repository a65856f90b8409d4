// What is shown, as the address says it: a link is a saved question. A key is never part of it.

export const PAGES = ["overview", "types", "triggers", "failures", "growth", "patterns", "organizations", "costs", "freshness", "questions"] as const;
export type PageName = (typeof PAGES)[number];

export const RANGES = ["24h", "7d", "30d", "90d", "custom"] as const;
export type RangeName = (typeof RANGES)[number];

export interface State {
  page: PageName;
  range: RangeName;
  /** Local times of a custom range, such as 2026-03-01T00:00, in `zone`. */
  since: string;
  until: string;
  /** An IANA name. */
  zone: string;
  organization: string;
  type: string;
  trigger: string;
  /** Which list of triggers. */
  list: string;
  search: string;
  /** The month of costs, such as 2026-03; without one the last year. */
  month: string;
  sort: string;
  offset: number;
}

const TEXTS = ["since", "until", "organization", "type", "trigger", "list", "search", "month", "sort"] as const;
const LOCAL = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$/;
const MONTH = /^[1-9]\d{3}-(0[1-9]|1[0-2])$/;

export function ownZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

export function knownZone(name: string): boolean {
  try {
    Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** Read an address. What it does not say, or says wrongly, is the default. */
export function parse(search: string): State {
  const given = new URLSearchParams(search);
  const one = <T extends string>(name: string, among: readonly T[], otherwise: T): T =>
    among.find((each) => each === given.get(name)) ?? otherwise;
  const zone = given.get("zone") ?? "";
  const state: State = {
    page: one("page", PAGES, "overview"),
    range: one("range", RANGES, "24h"),
    zone: zone && knownZone(zone) ? zone : ownZone(),
    offset: Math.max(0, Math.min(10_000, Math.trunc(Number(given.get("offset"))) || 0)),
    since: "", until: "", organization: "", type: "", trigger: "", list: "", search: "", month: "", sort: "",
  };
  for (const name of TEXTS) state[name] = given.get(name) ?? "";
  if (!MONTH.test(state.month)) state.month = "";
  if (state.range === "custom" && !(LOCAL.test(state.since) && LOCAL.test(state.until))) state.range = "24h";
  return state;
}

/** Write an address. Range and zone are always in it, so that another reader sees the same. */
export function format(state: State): string {
  const given = new URLSearchParams({ page: state.page, range: state.range, zone: state.zone });
  for (const name of TEXTS) {
    const custom = name !== "since" && name !== "until" || state.range === "custom";
    if (state[name] && custom) given.set(name, state[name]);
  }
  if (state.offset) given.set("offset", String(state.offset));
  return `?${given}`;
}

/** What stays when somebody goes to another page: time, zone and organization. */
export function elsewhere(state: State, change: Partial<State>): State {
  return { ...state, type: "", trigger: "", list: "", search: "", month: "", sort: "", offset: 0, ...change };
}
