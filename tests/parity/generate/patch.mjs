// Patches: each call has files of its own. Left out is where OpenCode loses something: two sections
// about one file, a move onto itself, `*** End of File` (`patch-loses` in DEVIATIONS.md).

import { blanks, code, dress, letters, word } from "./text.mjs"

function hunk(random, lines, from) {
  const at = random.int(from, Math.max(from, Math.min(lines.length - 1, from + 12)))
  const size = random.int(1, 4)
  const fuzz = random.weighted([[8, (line) => line], [1, (line) => line + blanks(random, 3)], [1, (line) => blanks(random, 3) + line.trim()], [0.5, (line) => line.replace(/"/g, "”").replace(/-/g, "–")], [0.3, (line) => `${line}?`]])
  const out = []
  for (const line of lines.slice(at, at + size)) {
    const shown = fuzz(line)
    out.push(...random.pick([[` ${shown}`], [`-${shown}`], [`-${shown}`, `+${word(random)} ${random.int(0, 99)}`], [` ${shown}`, `+${letters(random, 0, 8)}`]]))
  }
  const context = at > 0 && random.chance(0.25) ? ` ${random.chance(0.8) ? lines[at - 1].trim() : "not there"}` : ""
  return { lines: [`@@${context}`, ...out], next: at + size }
}

function section(random, dir, name, tree) {
  const path = `${dir}/${name}`
  const kind = random.weighted([[6, "update"], [1, "move"], [2, "add"], [1, "delete"], [0.6, "missing"]])
  if (kind === 'add') {
    const target = random.chance(0.3) ? path : `${dir}/new/${letters(random, 3, 6)}.txt`
    if (target === path) tree[path] = dress(random, code(random, 3))
    return [`*** Add File: ${target}`, ...random.many(random.int(0, 4), () => `+${random.chance(0.2) ? "" : letters(random, 1, 20)}`)]
  }
  if (kind === "missing") return random.pick([[`*** Delete File: ${dir}/none`], [`*** Update File: ${dir}/none`, "@@", "-a", "+b"]])
  const lines = code(random, random.int(1, 25))
  tree[path] = random.chance(0.1) ? { text: dress(random, lines), exec: true } : dress(random, lines)
  if (kind === "delete") return [`*** Delete File: ${path}`]
  const out = [`*** Update File: ${path}`]
  if (kind === "move") out.push(`*** Move to: ${dir}/${random.pick(["moved", "deep/er/moved"])}-${name}`)
  let from = 0
  for (let left = random.int(kind === "move" ? 0 : 1, 3); left > 0 && from < lines.length; left--) {
    const { lines: more, next } = hunk(random, lines, from)
    out.push(...more)
    from = random.chance(0.93) ? next : 0
  }
  if (random.chance(0.1)) out.push("@@", `+${word(random)}`)
  return out
}

/** One call and its files. */
export function patch(random, dir) {
  const tree = {}
  const sections = random.many(random.weighted([[6, 1], [2, 2], [1, 3]]), (n) => section(random, dir, `f${n}.txt`, tree))
  const plain = ["*** Begin Patch", ...sections.flat(), "*** End Patch"].join("\n")
  const patchText = random.weighted([[12, plain], [1, `cat <<'EOF'\n${plain}\nEOF`], [1, `<<EOF\n${plain}\nEOF\n`], [1, `Now:\n${plain}\nThat is it.`], [1, `  ${plain}\n\n`], [0.4, plain.replace("*** Begin", "*** Start")], [0.4, plain.replace("*** End Patch", "")], [0.4, plain.replaceAll("\n", "\r\n")]])
  return { tree, call: ["apply_patch", { patchText }] }
}
