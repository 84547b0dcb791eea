// Command lines in numbers: scripts made from a seed, to compare what they are taken apart into.
//
// Left out is what OpenCode's own parser misreads, where the plugin asks about more: a backtick in
// a here-document or in `"${…}"`, `$((a); b)`, two substitutions in backticks side by side, and
// some ends of lines, which it takes for blanks.

/** Lehmer's generator: the same scripts on every machine. */
function random(seed) {
  let state = seed
  return (below) => {
    state = (state * 48271) % 2147483647
    return state % below
  }
}

/** One line of `count` statements. */
export function line(seed, count) {
  const below = random(seed)
  const pick = (list) => list[below(list.length)]
  const some = (most, make, before) => Array.from({ length: below(most + 1) }, () => before + make()).join("")
  const plain = ["a", "b.txt", "src/x.c", "-f", "--k=v", "12", "'a b'", '"x; y"', "$HOME", "${X:-d}", "a$X/b", "*.c", "a\\ b", "{a,b}", "é", "@", "$'a\\'b'", "$((1 + 2))", "/opt/n/x", "~/n/x", "../n", "/opt/n/*.c", "'/opt/q r/x'"]
  const word = (depth) => {
    const nested = [() => `"a $( ${list(depth - 1)}) b"`, () => `$( ${list(depth - 1)})`, () => `<( ${simple(depth - 1)})`]
    return depth > 0 && below(4) === 0 ? pick(nested)() : pick(plain)
  }
  const assigned = () => (below(8) === 0 ? `${pick(["A=1", "A=$(ls)", "A='x y'", "A="])} ` : "")
  const bare = (depth) => `${assigned()}${pick(["rm", "cat", "cp", "mkdir", "chmod", "git", "npm", "docker", "./x", "echo", "cd", "sudo"])}${some(3, () => word(depth), " ")}${depth > 0 && below(9) === 0 ? ` \`${bare(0)}\`` : ""}`
  const redirected = () => (below(3) === 0 ? ` ${pick(["> f", "2>&1", ">> log", "< in", "2>/dev/null", "&> all", '> "a b"', "> f 2>&1"])}` : "")
  const simple = (depth) => bare(depth) + redirected()
  const command = (depth) => {
    if (depth <= 0) return simple(0)
    const inner = () => list(depth - 1)
    const compound = [
      () => `( ${inner()})`,
      () => `{ ${inner()}; }`,
      () => `if ${inner()}; then ${inner()}; else ${inner()}; fi`,
      () => `for i in a ${word(0)}; do ${inner()}; done`,
      () => `while ${simple(0)}; do ${inner()}; done < in`,
      () => `case $x in a|b) ${inner()} ;; *) ${simple(0)};; esac`,
      () => `[ -f ${word(0)} ]`,
      () => "[[ $a == x* ]]",
      () => `! ${simple(depth - 1)}`,
      () => pick(["export A=1", "X=$(ls -l)", "local y=2", "unset X"]),
      () => `f${below(3)}() { ${inner()}; }`,
    ]
    return below(2) === 0 ? pick(compound)() : simple(depth)
  }
  const list = (depth) => command(depth) + some(2, () => pick(["&& ", "|| ", "| ", "; "]).replace(/^(?=[&|])/, " ") + command(depth), "")
  return Array.from({ length: count }, () => list(2)).join("; ")
}
