// What every page is given.

import type { Answer, Question, Trouble } from "./client";
import type { Child } from "./dom";
import type { State } from "./state";

export interface Page {
  state: State;
  now: number;
  /** Aborted when something else is shown. */
  signal: AbortSignal;
  /** Ask a question; panels that ask the same one share its answer, unless it is asked `again`. */
  ask: (question: Question, again?: boolean) => Promise<Answer>;
  /** Fulfilled by the first answer of the page: from then on it is known how many requests are left. */
  first: Promise<void>;
  /** Say that everything is on the page: where nothing was asked yet, nothing waits for a first answer. */
  drawn: () => void;
  /** Put something on the page. */
  add: (...children: Child[]) => void;
  /** Go to another state, as a new entry of the history. */
  go: (state: State) => void;
  /** Say a trouble that is not one panel's alone; the key's end leads to the sign-in. */
  report: (trouble: Trouble) => void;
  /** Call `again` when newer figures are there and the page may ask for them. */
  onRenewal: (again: () => void) => void;
  /** Ask for newer figures, without a press. */
  renew: () => void;
  /** Take part in the count of what is still loading. */
  loading: (work: Promise<void>) => void;
}

/** Draws a page. */
export type Draw = (page: Page) => void;
