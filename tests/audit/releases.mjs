// What the audit must know of each release of OpenCode: in one place, and in the footnotes of its table.

import { concerns } from "../lib/releases.mjs"

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
