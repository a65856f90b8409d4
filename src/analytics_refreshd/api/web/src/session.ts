// The key: in this tab's session storage alone, never in an address, gone with the tab.

const NAME = "analytics-refreshd key";

export function readKey(): string | null {
  return sessionStorage.getItem(NAME);
}

export function keepKey(key: string): void {
  sessionStorage.setItem(NAME, key);
}

export function forgetKey(): void {
  sessionStorage.removeItem(NAME);
}
