// The plugin's tools against OpenCode's own, row by row of tests/parity/cases.mjs.

import assert from "node:assert/strict"
import { describe, test } from "node:test"
import { compare } from "../parity/harness.mjs"
import { cases, patches } from "../parity/cases.mjs"

const short = (value) => JSON.stringify(value)?.slice(0, 400)

for (const [family, rows, model] of [
  ["write and edit", cases, "m"],
  ["apply_patch", patches, "gpt-5"],
]) {
  describe(`like OpenCode's own, for models with ${family}:`, async () => {
    const outcome = await compare(rows, model)
    for (const { tool, args, why, differs } of outcome.rows) {
      test(`${tool} ${JSON.stringify(args).slice(0, 110)}${why ? " (differs on purpose)" : ""}`, () => {
        if (why) return assert.notEqual(differs.length, 0, `it no longer differs: remove the reason "${why}"`)
        const text = differs.map(({ path, opencode, plugin }) => `${path}\n  OpenCode: ${short(opencode)}\n  plugin:   ${short(plugin)}`).join("\n")
        assert.equal(text, "")
      })
    }
    test("both trees are the same afterwards, modes included", () => assert.equal(outcome.trees[1], outcome.trees[0]))
  })
}
