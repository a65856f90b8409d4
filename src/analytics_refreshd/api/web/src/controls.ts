// Range, zone and organization.

import { h, unique, type Child } from "./dom";
import { knownZone, RANGES, type RangeName, type State } from "./state";
import { texts } from "./texts";
import { instant, local } from "./times";

const DAY = 86_400_000;

function field(name: string, input: HTMLElement, more: Child = null): HTMLElement {
  input.id = unique("field");
  return h("div", { class: "field" }, h("label", { for: input.id }, name), input, more);
}

function zones(): string[] {
  const { supportedValuesOf } = Intl as unknown as { supportedValuesOf?: (key: string) => string[] };
  return ["UTC", ...(supportedValuesOf?.("timeZone") ?? [])];
}

/** Make the fields. A change is handed on at once where it is a usable one, else the field says what is wrong. */
export function controls(state: State, change: (changes: Partial<State>) => void): HTMLElement {
  const range = h("select", {}, RANGES.map((each) => h("option", { value: each, selected: each === state.range }, texts.ranges[each])));
  range.addEventListener("change", () => {
    const name = range.value as RangeName;
    const now = Date.now();
    const custom = name === "custom" ? { since: local(now - DAY, state.zone), until: local(now, state.zone) } : {};
    change({ range: name, ...custom, offset: 0 });
  });
  const list = h("datalist", { id: unique("zones") }, zones().map((each) => h("option", { value: each })));
  const zone = h("input", { type: "text", value: state.zone, list: list.id, autocomplete: "off", spellcheck: "false", size: 18 });
  zone.addEventListener("change", () => {
    const good = knownZone(zone.value.trim());
    zone.setCustomValidity(good ? "" : texts.badZone);
    if (good) change({ zone: zone.value.trim() });
    else zone.reportValidity();
  });
  zone.addEventListener("input", () => zone.setCustomValidity(""));
  const organization = h("input", { type: "text", value: state.organization, placeholder: texts.everyOrganization, autocomplete: "off", spellcheck: "false", size: 18 });
  organization.addEventListener("change", () => change({ organization: organization.value.trim(), offset: 0 }));
  return h("form", { class: "controls", role: "search", "aria-label": texts.controls, submit: (event) => event.preventDefault() },
    field(texts.range, range),
    state.range === "custom" && custom(state, change),
    field(texts.zone, zone, list),
    field(texts.organization, organization));
}

function custom(state: State, change: (changes: Partial<State>) => void): HTMLElement[] {
  const since = h("input", { type: "datetime-local", value: state.since });
  const until = h("input", { type: "datetime-local", value: state.until });
  const changed = (): void => {
    if (!since.value || !until.value) return;
    const good = instant(since.value, state.zone) < instant(until.value, state.zone);
    until.setCustomValidity(good ? "" : texts.badRange);
    if (good) change({ since: since.value, until: until.value, offset: 0 });
    else until.reportValidity();
  };
  since.addEventListener("change", changed);
  until.addEventListener("change", changed);
  return [field(texts.from, since), field(texts.to, until)];
}
