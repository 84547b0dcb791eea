// Sessions of 25 calls on a small tree, from a seed. The same seed and number give the same session,
// so a case has a number: that of its session times 25, and its place.

import { randomFor } from "../random.mjs"
import * as calls from "./calls.mjs"
import { edit } from "./edit.mjs"
import { patch } from "./patch.mjs"
import { letters } from "./text.mjs"

export const CALLS = 25
/** Calls in one reply of the model. */
const TOGETHER = 13

/** Calls that do not disturb each other, some of them in one reply of the model. */
function replies(list, together) {
  const steps = []
  for (let at = 0; at < list.length; at += together) steps.push(list.slice(at, at + together))
  return steps
}

const kinds = {
  edit(random) {
    const cases = random.many(CALLS, (n) => edit(random, `${random.pick(["", "src/", "ROOT/"])}f${n}.txt`))
    const tree = Object.fromEntries(cases.map(({ content, args }) => [args.filePath.replace("ROOT/", ""), content]))
    return { tree, steps: replies(cases.map(({ args }) => ["edit", args]), TOGETHER) }
  },
  patch(random) {
    const cases = random.many(CALLS, (n) => patch(random, `d${n}`))
    return { model: "gpt-5", tree: Object.assign({ "readme.txt": "here\n" }, ...cases.map(({ tree }) => tree)), steps: replies(cases.map(({ call }) => call), TOGETHER) }
  },
  read(random) {
    const tree = calls.tree(random)
    return { tree, steps: replies(random.many(CALLS, () => calls.read(random, tree)), TOGETHER) }
  },
  search(random) {
    const tree = calls.tree(random, { plain: true })
    const looks = random.many(CALLS - 1, () => (random.chance(0.5) ? calls.glob : calls.grep)(random, tree))
    return { tree, steps: [[calls.ignoring(random)], ...replies(looks, TOGETHER)] }
  },
  write(random) {
    const tree = calls.tree(random)
    const fresh = (n) => random.pick([`new${n}.txt`, `new${n}/a/b.txt`, `src/new${n}`, `.hidden${n}/x`])
    const known = random.shuffle(Object.keys(tree).filter((path) => !path.startsWith("to-")))
    const writes = random.many(CALLS - 8, (n) => calls.write(random, known[n] && random.chance(0.6) ? known[n] : fresh(n)))
    return { tree, steps: [...replies(writes, TOGETHER), random.many(8, () => ["read", { filePath: random.pick(writes)[1].filePath }])] }
  },
  mixed(random) {
    const tree = {}
    const edits = random.many(5, (n) => {
      const { content, args } = edit(random, `f${n}.txt`)
      tree[`f${n}.txt`] = content
      return args
    })
    const one = () =>
      random.weighted([
        [6, () => ["edit", { ...random.pick(edits) }]],
        [2, () => ["edit", { ...random.pick(edits), filePath: random.pick(edits).filePath }]],
        [2, () => calls.write(random, random.pick(edits).filePath)],
        [3, () => calls.read(random, tree)],
        [1, () => calls.grep(random, tree)],
        [1, () => ["bash", { command: `echo ${letters(random, 2, 6)} >> ${random.pick(edits).filePath}; tail -n 3 ${random.pick(edits).filePath}` }]],
        [1, () => ["bash", { command: `mv ${random.pick(edits).filePath} moved-${letters(random, 1, 1)}.txt` }]],
      ])()
    return { tree, steps: replies(random.many(CALLS, one), 1) }
  },
  bash(random) {
    const tree = calls.tree(random)
    return { tree, steps: replies(random.many(CALLS, () => calls.bash(random, tree)), 5) }
  },
  arguments(random) {
    const tree = calls.tree(random, { plain: true })
    const fits = (n) =>
      random.pick([
        () => calls.read(random, tree),
        () => calls.glob(random, tree),
        () => calls.grep(random, tree),
        () => ["bash", { command: "echo fine", timeout: 5000, workdir: "." }],
        () => ["write", { filePath: `new${n}.txt`, content: "new\n" }],
        () => ["edit", { filePath: `new${n}.txt`, oldString: "a", newString: "b", replaceAll: true }],
      ])()
    return { tree, steps: replies(random.many(CALLS, (n) => calls.spoil(random, fits(n))), 1) }
  },
}

/** The session with that number. */
export function session(seed, number) {
  const random = randomFor(seed, number)
  const kind = random.weighted([[42, "edit"], [16, "patch"], [11, "read"], [10, "search"], [7, "write"], [5, "mixed"], [5, "bash"], [3, "arguments"]])
  return { kind, model: "m", ...kinds[kind](random) }
}
