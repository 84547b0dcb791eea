// The user's rules with a release of OpenCode, with the plugin and without it: the same questions, in the
// same order and with the same patterns, the same refusals, and the turn goes on or ends alike. What a tool
// says beside that is compared with the pinned release only (tests/e2e/permissions.test.mjs).

import { compare } from "../permissions/harness.mjs"
import { always, patches, rows } from "../permissions/table.mjs"

const SHORT = 12

const decided = /has specified a rule|rejected permission|following feedback/
/** What the rules had to do with an outcome. Metadata is what interfaces show of a call, which differs by release. */
const ruled = ({ questions, error, wentOn }) => JSON.stringify({ questions: questions?.map(({ permission, patterns, always }) => ({ permission, patterns, always })), error: decided.test(error ?? "") ? error.match(decided)[0] : undefined, wentOn })

/** Gives `{ name, error }` of each row, `error` only where the two sides differ. */
export async function permissions({ short = false } = {}) {
  const some = (list) => (short ? list.filter((_, at) => at % Math.ceil(list.length / SHORT) === 0) : list)
  const sets = [
    { rows: some(rows), model: "m" },
    { rows: some(patches), model: "gpt-5" },
    ...(short ? [] : [{ rows: always, model: "m", inOrder: true }]),
  ]
  const outcomes = (await compare(sets)).flat()
  return outcomes.map(({ row: [agent, tool, args, answer], opencode, plugin }) => {
    const name = `${agent}: ${tool} ${JSON.stringify(args).slice(0, 110)}: ${answer}`
    if (!opencode.status) return { name, error: "OpenCode did not make the call" }
    return ruled(opencode) === ruled(plugin) ? { name } : { name, error: `OpenCode: ${ruled(opencode).slice(0, 600)}; plugin: ${ruled(plugin).slice(0, 600)}` }
  })
}
