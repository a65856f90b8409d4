// The texts in the first of the reader's languages that there are texts in.

import { en, type Texts } from "./texts/en";

const LANGUAGES: Record<string, Texts> = { en };

const wanted = navigator.languages.find((each) => (each.split("-")[0] ?? "") in LANGUAGES);

export const texts: Texts = LANGUAGES[wanted?.split("-")[0] ?? "en"] ?? en;

/** Numbers and dates: the reader's region where it has the language of the texts. */
export const locale: string = wanted ?? texts.language;
