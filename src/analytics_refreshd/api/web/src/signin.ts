// Asks for a key.

import { h, unique } from "./dom";
import { keepKey } from "./session";
import { texts } from "./texts";

/** Make the form. `why` says why a key is asked for again; `done` is called with the key kept. */
export function signIn(why: string | null, done: () => void): HTMLElement {
  const id = unique("key"), hint = unique("hint");
  const input = h("input", { id, type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": hint, autocapitalize: "none" });
  const wrong = h("p", { role: "alert", class: "bad" }, why);
  const submit = (event: Event): void => {
    event.preventDefault();
    const key = input.value.trim();
    // a header holds no other characters
    if (!/^[\x21-\x7e]+$/.test(key)) {
      wrong.textContent = key ? texts.signIn.malformed : texts.signIn.empty;
      input.focus();
      return;
    }
    keepKey(key);
    done();
  };
  return h("form", { class: "signin", submit },
    wrong,
    h("label", { for: id }, texts.signIn.key),
    input,
    h("p", { id: hint, class: "soft" }, texts.signIn.why),
    h("button", { type: "submit", class: "main" }, texts.signIn.button));
}
