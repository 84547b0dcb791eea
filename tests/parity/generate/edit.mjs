// Edits that aim at one way of finding the text each. Whether they hit it is not taken from here:
// the run asks the `ways` program, which goes through the very code that the sandbox runs.

import { blanks, code, dress, letters, word } from "./text.mjs"

/** A block of `low` to `high` lines: its place and its lines. */
function block(random, lines, low, high) {
  const size = Math.min(lines.length, random.int(low, high))
  const at = random.int(0, lines.length - size)
  return { at, size, lines: lines.slice(at, at + size) }
}
const reblank = (random, line) => blanks(random) + line.trim() + (random.chance(0.3) ? blanks(random, 3) : "")
const final = (random) => (random.chance(0.25) ? "\n" : "")

/** By aim: `(random, lines)` gives the old text, and may change the lines. */
const aims = {
  exact(random, lines) {
    if (random.chance(0.5)) return block(random, lines, 1, 4).lines.join("\n") + final(random)
    const text = lines.join("\n")
    const at = random.int(0, Math.max(0, text.length - 2))
    return text.slice(at, at + random.int(1, 50))
  },
  "trimmed lines": (random, lines) => block(random, lines, 1, 5).lines.map((line) => reblank(random, line)).join("\n") + final(random),
  "anchored block"(random, lines) {
    const { lines: picked } = block(random, lines, 4, 9)
    const change = (line) => {
      if (!line.trim() || random.chance(0.4)) return line
      const at = random.int(0, line.length - 1)
      return line.slice(0, at) + random.pick(["x", "", "Z9", " "]) + line.slice(at + random.int(0, 2))
    }
    const middle = picked.slice(1, -1).map(change)
    if (random.chance(0.25)) middle.splice(random.int(0, middle.length), random.int(0, 1), ...(random.chance(0.5) ? [word(random)] : []))
    const ends = random.chance(0.3) ? [reblank(random, picked[0]), reblank(random, picked.at(-1))] : [picked[0], picked.at(-1)]
    return [ends[0], ...middle, ends[1]].join("\n") + final(random)
  },
  "collapsed space"(random, lines) {
    const stretch = (text) => text.replace(/(?<=\S)[ \t]+(?=\S)/g, () => random.pick([" ", "  ", "\t", " \t ", "   "]))
    const { at, lines: picked } = block(random, lines, 1, 4)
    if (random.chance(0.3)) lines.splice(at, picked.length, ...picked.map(stretch))
    if (random.chance(0.4) && picked[0].trim().includes(" ")) {
      const words = picked[0].trim().split(/\s+/)
      return words.slice(random.int(0, words.length - 2)).join(random.pick(["  ", "\t", " "]))
    }
    return stretch(picked.join("\n"))
  },
  dedented(random, lines) {
    const base = random.pick(["  ", "    ", "\t", "\t\t"])
    const inner = [word(random), `  ${word(random)} ${random.int(0, 99)}`, ...random.many(random.int(0, 2), () => `    ${word(random)}`)]
    const copy = inner.map((line) => base + line)
    const second = random.chance(0.8) ? copy : inner.map((line) => `${base} ${line}`)
    lines.splice(random.int(0, lines.length), 0, ...copy)
    lines.push(...random.many(6, () => letters(random, 5, 9)), ...second)
    return inner.join("\n")
  },
  unescaped(random, lines) {
    const { lines: picked } = block(random, lines, 1, random.pick([1, 2, 2, 3, 6]))
    const escapes = { "\n": "\\n", "\t": "\\t", '"': '\\"', "'": "\\'", "`": "\\`", $: "\\$", "\\": "\\\\" }
    const all = random.chance(0.6)
    const old = picked.join("\n").replace(/[\n\t"'`$\\]/g, (c) => (all || random.chance(0.5) ? escapes[c] : c))
    return random.chance(0.2) ? old.replace(/(?=[a-z])/, "\\") : old
  },
  "trimmed whole"(random, lines) {
    const { lines: picked } = block(random, lines, 2, 5)
    const around = () => random.pick(["\n", "\n\n", "\n  ", "  \n", " \n\t"])
    return around() + picked.join("\n").trim() + (random.chance(0.7) ? around() : "")
  },
  "half-equal block"(random, lines) {
    const size = random.pick([2, 4, 6])
    const inner = random.many(size, () => `${blanks(random, 4)}${letters(random, 6, 14)} ${random.int(0, 9999)}`)
    const [first, last] = [`begin ${letters(random, 3, 8)} {`, `} end ${letters(random, 3, 8)}`]
    lines.splice(random.int(0, lines.length), 0, first, ...inner, last)
    const changed = new Set(random.shuffle(inner.map((_, at) => at)).slice(0, random.chance(0.85) ? size / 2 : size / 2 + 1))
    return [first, ...inner.map((line, at) => (changed.has(at) ? String(random.int(1e15, 9e15)) : line)), last].map((line) => (random.chance(0.2) ? reblank(random, line) : line)).join("\n") + final(random)
  },
  "every occurrence"(random, lines) {
    const { lines: picked } = block(random, lines, 1, 2)
    lines.push(...picked, letters(random, 3, 5), ...picked)
    return picked.join("\n")
  },
  nothing(random, lines) {
    const kind = random.int(0, 5)
    if (kind === 0) return `${letters(random, 8, 12)} ${word(random)}`
    if (kind === 1) return ""
    if (kind === 2) return blanks(random) || " "
    if (kind === 3) return `${lines[0]}\n${letters(random, 400, 900)}`
    if (kind === 4) return lines.slice(0, 7).join("\\n")
    return lines.join("\n")
  },
}

/** One file and one edit of it: `{ content, args }`. */
export function edit(random, filePath) {
  const aim = random.weighted([[8, "exact"], [9, "trimmed lines"], [12, "anchored block"], [13, "collapsed space"], [10, "dedented"], [20, "unescaped"], [12, "trimmed whole"], [12, "half-equal block"], [7, "every occurrence"], [5, "nothing"]])
  const lines = code(random, random.int(3, 30))
  const old = aims[aim](random, lines)
  const oldString = random.chance(0.05) ? old.replaceAll("\n", "\r\n") : old
  const text = random.weighted([[6, () => code(random, random.int(1, 4)).join("\n")], [2, () => old.replace(/[a-z]+/, word(random))], [1, () => ""], [1, () => "$& $1 $$ é😀"], [0.3, () => old]])()
  const args = { filePath, oldString, newString: text + final(random) }
  // Not where OpenCode expands `$` or replaces nothing: `edit-all` in DEVIATIONS.md.
  if (random.chance(0.12) && !args.newString.includes("$") && oldString.trim()) args.replaceAll = true
  else if (random.chance(0.1)) args.replaceAll = false
  return { content: dress(random, lines), args }
}
