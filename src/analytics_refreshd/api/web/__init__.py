"""The pages for people: built from TypeScript by `build.mjs`, served as they are."""
