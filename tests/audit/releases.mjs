// What differs from release to release of OpenCode, in one place.

import { below, release } from "../lib/releases.mjs"

/** Whether this process tests with a release that an entry is about: from `from` on, and below `below`. */
const concerns = ({ from, below: end }) => !(from && below(release(), from)) && !(end && !below(release(), end))

/** Arguments that a release's own tools demand, and today's do not. */
const DEMANDED = [{ below: "1.17.0", tool: "bash", args: { description: "x" } }]

/** What to give to a tool of this release beside the arguments of a row. */
export const demanded = (tool) => Object.assign({}, ...DEMANDED.filter((entry) => entry.tool === tool && concerns(entry)).map(({ args }) => args))

/** Rows that a release cannot do even without the plugin, and why. */
const CANNOT = []

/** Why this release cannot do a row; nothing if it can. */
export const cannot = (row) => CANNOT.find((entry) => entry.rows.includes(row) && concerns(entry))?.why

/**
 * What a release does on the host by itself, whoever asked: `what` it is, the program's arguments as the trace has them
 * (`runs`), or the `row` and its kinds of effect. `line`: of the README's list of what still runs on the user's machine.
 */
const BY_ITSELF = []

export const byItself = () => BY_ITSELF.filter(concerns)

/** The entry that an effect of a row is put down to. */
export const ownEffect = (row, kind) => byItself().find((entry) => entry.row === row && entry.kinds.includes(kind))

/** Whether this release runs a program by itself: `name` without its directory, `line` as the trace has it. */
export const mayRun = (name, line) => byItself().some((entry) => entry.program === name && entry.runs.test(line))
