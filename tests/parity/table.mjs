// The written table: groups of rows, one session each. A row is `[tool, args]`, or
// `[tool, args, id]` for a deliberate deviation of DEVIATIONS.md.
//
// Rows that only look run together in one reply of the model; `together` says so of other rows, and
// `apart` denies it where the order matters.

import { compareParts, compareTrees, verdict } from "./compare.mjs"
import { tree } from "./tree.mjs"
import { groups as args } from "./table/arguments.mjs"
import { groups as bash } from "./table/bash.mjs"
import { groups as edit } from "./table/edit.mjs"
import { groups as patch } from "./table/patch.mjs"
import { groups as read } from "./table/read.mjs"
import { groups as search } from "./table/search.mjs"
import { groups as web } from "./table/web.mjs"
import { groups as write } from "./table/write.mjs"

const TOGETHER = 12
const LOOKS = new Set(["read", "glob", "grep"])

export const groups = Object.entries({ read, search, write, edit, apply_patch: patch, bash, web, arguments: args }).flatMap(([tool, groups]) =>
  groups.map((group) => ({ ...group, name: `${tool}: ${group.name}` })),
)

/** A group as a session. */
function session({ model, tree: own, rows, together, apart }) {
  const steps = []
  let open = false
  for (const [tool, args] of rows) {
    const joins = !apart && (together || LOOKS.has(tool)) && !JSON.stringify(args).includes("SAVED")
    if (joins && open && steps.at(-1).length < TOGETHER) steps.at(-1).push([tool, args])
    else steps.push([[tool, args]])
    open = joins
  }
  return { model, tree: own ?? tree, steps }
}

/** Runs one group; gives a text per row, and one for the tree, that is empty if all is well. */
export async function runGroup(arena, group) {
  const { parts, trees } = await arena.run(session(group))
  const rows = group.rows.map(([tool, args, id], index) => ({ tool, args, id, wrong: verdict(compareParts(parts[index]), id, parts[index]) }))
  return { rows, tree: { id: group.trees, wrong: verdict(compareTrees(trees), group.trees) } }
}

/** Ids that the table names. */
export const named = () => new Set(groups.flatMap(({ rows, trees }) => [...rows.map((row) => row[2]), trees]).filter(Boolean))
