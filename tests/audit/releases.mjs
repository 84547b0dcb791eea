// What differs from release to release of OpenCode, in one place.

import { below, release } from "../lib/releases.mjs"

/** Whether this process tests with a release that an entry is about: from `from` on, and below `below`. */
const concerns = ({ from, below: end }) => !(from && below(release(), from)) && !(end && !below(release(), end))

/** Arguments that a release's own tools demand, and today's do not. */
const DEMANDED = [{ below: "1.17.0", tool: "bash", args: { description: "x" } }]

/** Calls that a release cannot be given: it is asked for the turn again and again, or its messages cannot be read any more. */
const STUCK = [{ below: "1.15.13", what: "arguments that are a list", is: (args) => typeof args === "string" && args.startsWith("[") }]

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value)
const demanded = (tool) => Object.assign({}, ...DEMANDED.filter((entry) => entry.tool === tool.toLowerCase() && concerns(entry)).map(({ args }) => args))

/** Tool calls as this release can take them. */
export const fitting = (calls) =>
  calls.filter(([, args]) => !STUCK.some((entry) => concerns(entry) && entry.is(args))).map(([tool, args]) => [tool, isObject(args) ? { ...demanded(tool), ...args } : args])

/** Scripts of the model, likewise. */
export const fittingScript = (script) => script.map((step) => (step.calls ? { ...step, calls: fitting(step.calls) } : step))

/** Rows that a release cannot do even without the plugin, and why. */
const CANNOT = [{ below: "1.15.0", rows: ["vcs-apply"], why: "no such route" }]

/** Why this release cannot do a row; nothing if it can. */
export const cannot = (row) => CANNOT.find((entry) => entry.rows.includes(row) && concerns(entry))?.why

/**
 * What a release does on the host by itself, whoever asked:
 *
 * what             what it is, for people
 * program, runs    a program, and the start of its arguments as the trace has them
 * row, kinds       effects that are put down to a row; `runs`: executions only if the trace has this
 * line             of the README's list of what still runs on the user's machine
 */
const BY_ITSELF = [
  { from: "1.15.13", program: "rg", runs: /"--no-config", "--files", "--glob=!\*\*\/\.git\/\*\*", "\."\]/, what: "lists the project's files, for the search box (`rg --files`)" },
  { program: "rg", runs: /"--no-config", "--files", "--hidden", "--glob=!\*\*\/SKILL\.md", "--glob=!\*\*\/\.git\/\*\*", "\."\]/, what: "lists the files of a skill that is asked for (`rg --files`)" },
  { below: "1.17.0", program: "rg", runs: /, ("--no-config", )?"--files", "--glob=!\.git\/\*", "--hidden"(, "\.")?\]/, what: "lists the project's files, for the search box (`rg --files`)" },
  { below: "1.17.0", row: "git-host", kinds: "wx", runs: /file-view/, line: "terminals and file views", what: "its file view runs the repository's `diff.external`" },
]

export const byItself = () => BY_ITSELF.filter(concerns)

/** The entry that an effect of a row is put down to. */
export const ownEffect = (row, { kind, what }) => byItself().find((entry) => entry.row === row && entry.kinds.includes(kind) && (kind !== "x" || !entry.runs || entry.runs.test(what)))

/** Whether this release runs a program by itself: `name` without its directory, `line` as the trace has it. */
export const mayRun = (name, line) => byItself().some((entry) => entry.program === name && entry.runs.test(line))
