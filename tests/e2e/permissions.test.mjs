// The user's rules with the plugin and without it, row by row of tests/permissions/table.mjs.

import assert from "node:assert/strict"
import { describe, test } from "node:test"
import { differences } from "../parity/compare.mjs"
import { compare } from "../permissions/harness.mjs"
import { always, patches, rows } from "../permissions/table.mjs"

const sets = [
  { name: "the tools of most models", rows, model: "m" },
  { name: "apply_patch", rows: patches, model: "gpt-5" },
  { name: "answers that last", rows: always, model: "m", inOrder: true },
]

/** Without what is more than OpenCode's own: the remark on an exit code, and tools. */
const less = (outcome) => ({
  ...outcome,
  output: outcome.output?.replace(/\n\n<shell_metadata>\nThe command ended with exit code \d+\.\n<\/shell_metadata>$/, "").replace(/ (job|preview|sync),/g, ""),
})

describe("the user's rules have the effect that they have without the plugin:", async () => {
  const outcomes = await compare(sets)
  sets.forEach(({ name }, set) =>
    describe(name, () => {
      for (const { row, opencode, plugin } of outcomes[set]) {
        const [agent, tool, args, answer] = row
        test(`${agent}: ${tool} ${JSON.stringify(args).slice(0, 110)}: ${answer}`, () => {
          assert.ok(opencode.status, "OpenCode made the call")
          const short = (value) => JSON.stringify(value)?.slice(0, 600)
          const text = differences(opencode, less(plugin)).map(({ path, opencode, plugin }) => `${path}\n  OpenCode: ${short(opencode)}\n  plugin:   ${short(plugin)}`)
          assert.equal(text.join("\n"), "")
        })
      }
    }),
  )

  test("the table has every kind of outcome in it", () => {
    const all = outcomes.flat().map(({ opencode }) => opencode)
    const errors = all.map(({ error }) => error ?? "").join("\n")
    for (const text of ["has specified a rule", "rejected permission to use this specific tool call.", "following feedback"]) assert.ok(errors.includes(text), text)
    const asked = all.flatMap(({ questions }) => questions)
    for (const permission of ["read", "edit", "glob", "grep", "bash", "external_directory"]) assert.ok(asked.some((q) => q.permission === permission), permission)
    assert.ok(all.some(({ wentOn }) => !wentOn) && all.some(({ questions }) => questions.length === 2) && all.length >= 60)
  })
})
