// Links between states: real addresses, so that they open in a new tab too.

import { h, type Child } from "./dom";
import type { Page } from "./page";
import { format, type State } from "./state";

/** Make a link to a state. */
export function link(page: Page, state: State, text: Child, current = false): HTMLAnchorElement {
  const follow = (event: Event): void => {
    const click = event as MouseEvent;
    if (click.ctrlKey || click.metaKey || click.shiftKey || click.altKey) return;
    event.preventDefault();
    page.go(state);
  };
  return h("a", { href: format(state), "aria-current": current ? "page" : null, click: follow }, text);
}
