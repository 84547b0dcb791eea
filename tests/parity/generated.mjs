// Generated sessions: run, compared, and made small if they differ.

import { spawn } from "node:child_process"
import { compareParts, compareTrees, explain } from "./compare.mjs"
import { CALLS, session } from "./generate/session.mjs"
import { root } from "../lib/world.mjs"

/** Runs session `number`; gives what differs, as small cases. */
export async function runSession(arena, seed, number) {
  const whole = session(seed, number)
  const found = differing(whole, await arena.run(whole))
  const failures = []
  for (const { index, differs } of found) {
    // What comes after a difference may only follow from it: the first of each step is looked into.
    if (failures.some((failure) => failure.step === stepOf(whole, index))) continue
    failures.push({ case: number * CALLS + index, step: stepOf(whole, index), ...(await shrink(arena, whole, index, differs)) })
  }
  return { session: whole, failures }
}

/** Places of the calls that differ; the place after the last one stands for the tree. */
function differing({ steps }, { parts, trees }) {
  const found = parts.map((both, index) => ({ index, differs: compareParts(both) }))
  found.push({ index: steps.flat().length, differs: found.some(({ differs }) => differs.length) ? [] : compareTrees(trees) })
  return found.filter(({ differs }) => differs.length)
}

const fields = (differs) => differs.map(({ path }) => path).join()

function stepOf({ steps }, index) {
  let before = 0
  return steps.findIndex((calls) => (before += calls.length) > index)
}

/** Drops calls before and beside the one that differs, and files, while it still differs. */
async function shrink(arena, whole, index, differs) {
  const calls = whole.steps.flat()
  const isTree = index === calls.length
  const last = isTree ? [] : [calls[index]]
  let best = { before: isTree ? calls : calls.slice(0, index), tree: whole.tree, differs }
  const attempt = async (before, tree) => {
    const steps = [...before, ...last].map((call) => [call])
    if (!steps.length) return false
    const outcome = await arena.run({ model: whole.model, tree, steps })
    const now = isTree ? compareTrees(outcome.trees) : compareParts(outcome.parts.at(-1))
    // The same difference, not just any.
    const same = fields(now) === fields(differs)
    if (same) best = { before, tree, differs: now }
    return same
  }
  if (!(await attempt([], whole.tree))) {
    if (!(await attempt(best.before, whole.tree))) return { differs, calls: [...best.before, ...last], tree: whole.tree, note: "only when the calls run together" }
    await reduce(best.before, (fewer) => attempt(fewer, best.tree))
  }
  await reduce(Object.entries(best.tree), (fewer) => attempt(best.before, Object.fromEntries(fewer)))
  return { differs: best.differs, calls: [...best.before, ...last], tree: best.tree }
}

/** Drops parts of a list, large ones first, as long as `works` says yes to what is left. */
async function reduce(list, works) {
  let left = list
  for (let size = list.length; size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < left.length; ) {
      const fewer = left.filter((_, place) => place < at || place >= at + size)
      if (await works(fewer)) left = fewer
      else at += size
    }
  }
}

/** A failure as text: files, calls, what differs, and how to see it again. */
export function describe(seed, failure) {
  const files = Object.entries(failure.tree).map(([path, content]) => `  ${path}: ${JSON.stringify(Buffer.isBuffer(content) ? { base64: content.toString("base64") } : content).slice(0, 3000)}`)
  const calls = failure.calls.map(([tool, args]) => `  ${tool} ${JSON.stringify(args).slice(0, 3000)}`)
  const note = failure.note ? `\n(${failure.note})` : ""
  return `case ${failure.case}${note}\nfiles:\n${files.join("\n")}\ncalls:\n${calls.join("\n")}\n${explain(failure.differs)}\nagain: npm run parity -- --seed ${seed} --case ${failure.case}`
}

/**
 * How many edits each way of finding the text proposed something for, and how many it decided; for
 * the edits of sessions of which every call has a file of its own, because only then is it sure what
 * the file held.
 */
export async function countWays(binary, sessions) {
  const edits = sessions
    .filter(({ kind }) => kind === "edit")
    .flatMap(({ tree, steps }) => steps.flat().map(([, args]) => ({ file: tree[args.filePath.replace("ROOT/", "")], old: args.oldString, all: args.replaceAll ?? false, same: args.oldString.replaceAll("\r\n", "\n") === args.newString.replaceAll("\r\n", "\n") })))
    .filter(({ old, same }) => old !== "" && !same)
  const child = spawn(binary, [], { cwd: root, stdio: ["pipe", "pipe", "inherit"] })
  child.stdin.end(edits.map((edit) => JSON.stringify(edit)).join("\n"))
  let text = ""
  for await (const chunk of child.stdout) text += chunk
  const [names, ...answers] = text.trim().split("\n").map((line) => JSON.parse(line))
  if (answers.length !== edits.length) throw new Error(`${answers.length} of ${edits.length} edits were classified`)
  return names.map((name, index) => ({
    name,
    hit: answers.filter(({ hits }) => hits.includes(index)).length,
    decided: answers.filter(({ decides }) => decides === index).length,
  }))
}
