// Calls of the tools that look, write and run.

import { blanks, code, dress, letters, word } from "./text.mjs"
import { png } from "../tree.mjs"

const NAMES = ["apricot", "banjo", "cedar", "dynamo", "ember", "fjord", "glyph", "hazel", "ivory", "jungle", "krypton", "lagoon", "meadow", "nickel", "orchid", "pepper", "quartz", "ribbon", "saddle", "timber"]
const ENDS = [".txt", ".rs", ".ts", ".md", "", ".json", ".TXT"]
const DIRS = ["", "", "src/", "src/deep/", "lib/", "we ird/", ".config/"]

/** What a file may hold, other than code. */
function odd(random) {
  return random.weighted([
    [2, () => ""],
    [1, () => "\n"],
    [2, () => `${"x".repeat(random.int(1990, 2600))}\nshort\n`],
    [2, () => random.many(random.int(300, 700), (n) => `${n} ${"w".repeat(random.int(80, 160))}\n`).join("")],
    [2, () => random.many(random.int(1900, 2200), (n) => `${n}\n`).join("")],
    [2, () => Buffer.from(random.many(random.int(1, 60), () => random.int(0, 255)))],
    [3, () => Buffer.from(random.many(random.int(5, 60), () => random.pick([0x61, 0x62, 0x20, 0x0a, 0x0d, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xff, 0x09, 0x01])))],
    [1, () => png],
    [1, () => "%PDF-1.7\nnothing\n"],
    [2, () => `\ufeff${word(random)}\r\n${word(random)}\r${word(random)}`],
    [2, () => `grün ${word(random)} 😀\n日本 ${word(random)}\n`],
    [1, () => ({ text: "#!/bin/sh\necho x\n", exec: true })],
  ])()
}

/** A small tree; `plain` has only code in short files. */
export function tree(random, { files = random.int(6, 14), plain = false } = {}) {
  const names = random.shuffle(NAMES).slice(0, files)
  const out = {}
  for (const name of names) {
    const path = random.pick(DIRS) + name + random.pick(ENDS)
    out[path] = plain || random.chance(0.5) ? dress(random, code(random, plain ? random.int(1, 5) : random.int(1, 40))) : odd(random)
  }
  if (random.chance(0.3)) out["to-file"] = { link: Object.keys(out)[0] }
  if (random.chance(0.2)) out["to-dir"] = { link: "src" }
  return out
}

const dirsOf = (paths) => [...new Set(paths.filter((path) => path.includes("/")).map((path) => path.slice(0, path.lastIndexOf("/"))))]
const spell = (random, path) => random.weighted([[6, path], [2, `ROOT/${path}`], [1, `./${path}`], [1, `src/../${path}`], [0.5, `ROOT//${path}`]])

/** Fewer than four names of the directory are suggested, so that their choice is no matter of luck. */
function isCertain(path, paths) {
  const [dir, base] = [path.slice(0, path.lastIndexOf("/") + 1), path.slice(path.lastIndexOf("/") + 1).toLowerCase()]
  const names = new Set(paths.filter((other) => other.startsWith(dir)).map((other) => other.slice(dir.length).split("/")[0].toLowerCase()))
  return base && [...names, ".git"].filter((name) => name.includes(base) || base.includes(name)).length <= 3
}

export function read(random, files) {
  const paths = Object.keys(files)
  const some = random.pick(paths)
  const wrong = random.pick([some.slice(0, -1), `${some}x`, some.toUpperCase(), some.replace(/\.\w+$/, ""), `none/${some}`])
  const path = random.weighted([[10, some], [2, random.pick([...dirsOf(paths), "."])], [2, isCertain(wrong, paths) ? wrong : some], [0.5, `${some}/below`]])
  const args = { filePath: spell(random, path) }
  if (random.chance(0.4)) args.offset = random.weighted([[6, random.int(0, 12)], [2, random.int(13, 800)], [1, random.int(1900, 2300)]])
  if (random.chance(0.3)) args.limit = random.weighted([[6, random.int(0, 12)], [2, random.int(13, 2500)]])
  return ["read", args]
}

export function glob(random, files) {
  const paths = Object.keys(files)
  const some = random.pick(paths)
  const base = some.slice(some.lastIndexOf("/") + 1)
  const pattern = random.pick(["*", "**", "**/*", `*${random.pick(ENDS)}`, `**/*${random.pick(ENDS)}`, some, base, `**/${base}`, `${base.slice(0, 2)}*`, `[${base[0]}-z]*`, `[!${base[0]}]*`, `?${base.slice(1)}`, `*.{rs,ts}`, `{${base},none}`, "src/*", "src/**", "src/**/*.ts", ".config/*", ".*", `/${base}`, `./${base}`, "*/*", "**/deep/*", `!${base}`, "", "[", "{a,b", base.toUpperCase(), "we ird/*", "\\*", `${word(random)}*`])
  return ["glob", random.chance(0.3) ? { pattern, path: spell(random, random.pick([...dirsOf(paths), ".", "none", some])) } : { pattern }]
}

export function grep(random, files) {
  const paths = Object.keys(files)
  const a = word(random)
  const pattern = random.pick([a, a.toUpperCase(), `(?i)${a.toUpperCase()}`, `^\\s*${a}`, `${a}$`, `\\b${a}\\b`, `${a}|${word(random)}`, `[${a.slice(0, 3)}]{2,}`, `${a}.*\\d`, "\\d{3}", "^$", "^\\s+$", "return \\w+", "\\(", "(", "[", "a{2", "*a", "\\", "(?=x)", "(a)\\1", "'|\"", "\\$", "}", "{", "\\t", " {4}", "é|😀", "\\p{Greek}", "[^[:ascii:]]", "\\r", "a\\nb", "(?m)^}$", "(?x) a b", "\\x{41}", "."])
  const args = { pattern }
  if (random.chance(0.3)) args.include = random.pick([`*${random.pick(ENDS)}`, "*.{rs,ts,md}", "src/**", "!*.rs", "**/deep/*", "[", "", "*"])
  if (random.chance(0.3)) args.path = spell(random, random.pick([...dirsOf(paths), ".", "none", random.pick(paths)]))
  return ["grep", args]
}

/** What git ignores is not carried into a sandbox, so a search makes it first. */
export const ignoring = (random) => [
  "bash",
  { command: `printf '${random.pick(["*.md", "lib/", "/src/deep", "**/*.ts", "!*.rs", "*.rs\\n!e*.rs", "#x\\n\\nsrc"])}\\n' > .gitignore; printf '${random.pick(["*.json", "none", "src/*"])}\\n' > ${random.pick([".ignore", ".rgignore", "other"])}` },
]

export function write(random, path) {
  const lines = code(random, random.int(0, 20))
  const content = random.weighted([[8, () => dress(random, lines)], [1, () => ""], [1, () => `\ufeff${word(random)}\n`], [1, () => `nul \0 ${blanks(random)}é😀`], [1, () => letters(random, 1, 3000)]])()
  return ["write", { filePath: spell(random, path), content }]
}

export function bash(random, files) {
  const n = random.int(0, 255)
  const text = letters(random, 1, 12)
  const path = random.pick(Object.keys(files)).replaceAll("'", "")
  const bytes = random.many(random.int(1, 12), () => `\\${random.int(1, 255).toString(8).padStart(3, "0")}`).join("")
  const command = random.weighted([
    [2, `echo ${text}; exit ${n}`],
    [2, `printf '${bytes}'`],
    [2, `printf '%s\\n' ${text} ${n} | tr a-z A-Z`],
    [1, `echo ${text} >&2; exit ${n % 3}`],
    [2, `seq ${random.int(1, 4)} ${random.int(1900, 2600)}`],
    [2, `head -c ${random.int(50_900, 51_500)} /dev/zero | tr '\\0' ${text[0]}`],
    [2, `yes ${text.repeat(random.int(1, 5))} | head -n ${random.int(800, 2100)}`],
    [2, `mkdir -p made/${text} && echo ${n} > made/${text}/${text[0]} && ls -R made/${text}`],
    [1, `ls -1A '${path}'; cat '${path}' | head -c 3000 | od -An -tx1 | head -5`],
    [1, `{ cd src; pwd; cd - > /dev/null; pwd; } 2>&1`],
    [1, `for x in ${text} ${n}; do echo "[$x]"; done | sort`],
    [1, `cat <<EOF\n${text} $((${n} + 1))\nEOF`],
    [1, `f() { return ${n}; }; f; echo $?`],
    [1, `set -o pipefail; false | true; echo $? \${PIPESTATUS[@]}`],
    [1, `printf '\\033[3${n % 8}m${text}\\033[0m\\r\\n'`],
    [1, `nonexistent-${text}`],
    [1, `echo '${text}`],
    [1, `stat -c '%a %s %F' '${path}'`],
    [1, `X=${text} bash -c 'echo $X $0'`],
    [1, `sleep 0.0${n % 10}; echo ${text}; # ${text}`],
  ])
  const args = { command }
  if (random.chance(0.15)) args.workdir = random.pick(["src", ".", "ROOT", "ROOT/src/..", ""].filter((dir) => dir !== "src" || Object.keys(files).some((path) => path.startsWith("src/"))))
  if (random.chance(0.15)) args.timeout = random.int(20_000, 90_000)
  return ["bash", args]
}

/** Arguments of a call that fits, with something wrong or odd. */
export function spoil(random, [tool, args]) {
  const bad = [null, 5, -1, 0, 1.5, true, "text", "", [], ["a"], {}, { a: 1 }, 1e21, -0.5, 9007199254740993]
  const keys = ["filePath", "content", "oldString", "newString", "replaceAll", "pattern", "path", "include", "offset", "limit", "command", "timeout", "workdir", "patchText", "extra"]
  const out = { ...args }
  for (let left = random.int(1, 2); left > 0; left--) {
    if (random.chance(0.3)) delete out[random.pick(Object.keys(args))]
    else out[random.chance(0.6) ? random.pick(Object.keys(args)) : random.pick(keys)] = random.pick(bad)
  }
  // A limit that races with the command.
  if (out.timeout === 5) out.timeout = 50_000
  return [tool, out]
}
