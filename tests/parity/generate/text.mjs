// Random texts: code with indentation, names, bytes.

const WORDS = ["alpha", "beta", "count", "delta", "entry", "field", "group", "handle", "index", "join", "key", "list", "map", "node", "order", "parent", "query", "result", "state", "total"]

export const word = (random) => random.pick(WORDS)
export const letters = (random, low, high) => random.many(random.int(low, high), () => String.fromCharCode(random.int(97, 122))).join("")
export const blanks = (random, high = 6) => random.many(random.int(0, high), () => random.pick([" ", " ", " ", "\t"])).join("")

/** Lines that look like code; hardly two of them are equal. */
export function code(random, count) {
  const unit = random.pick(["  ", "    ", "\t"])
  let depth = 0
  return random.many(count, () => {
    const form = random.int(0, 9)
    if (form === 0 && depth > 0) depth--
    const indent = unit.repeat(depth)
    const [a, b, n] = [word(random), word(random), random.int(0, 999)]
    if (form === 1 && depth < 4) {
      depth++
      return `${indent}if (${a} === ${n}) {`
    }
    const texts = [`}`, `} else {`, `return ${a} + ${n}`, `${a}.${b}(${n}, "${word(random)}")`, `// ${a} ${b}  ${n}`, `const ${a} = '${b}\\t${n}'`, `${a}[${n}] = ${b}`, `let ${a}${n} = \`$\{${b}} \${${a}}\``, random.chance(0.4) ? "" : `${a} || ${b}.${n}`, `${a}: ${b},`]
    return texts[form] === "" ? "" : indent + texts[form]
  })
}

/** A text with one of the line endings, with or without a mark and a final newline. */
export function dress(random, lines) {
  const ending = random.weighted([[85, "\n"], [10, "\r\n"], [5, null]])
  const end = () => ending ?? random.pick(["\n", "\r\n"])
  const body = lines.map((line, at) => line + (at < lines.length - 1 || random.chance(0.85) ? end() : "")).join("")
  return random.chance(0.05) ? `\ufeff${body}` : body
}
