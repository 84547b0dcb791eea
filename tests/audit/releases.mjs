// What the audit must know of each release of OpenCode: in one place, and in the footnotes of its table.

import { concerns } from "../lib/releases.mjs"

/** Rows that a release cannot do even without the plugin, and why. */
const CANNOT = [
  { below: "1.1.0", rows: ["bash-up", "edit"], why: "its own tools refuse paths outside the project" },
  { below: "1.1.0", rows: ["apply-patch", "websearch", "lsp", "skill-files", "skill-text", "skill-command"], why: "no such tool" },
  { below: "1.1.0", rows: ["explore"], why: "no such agent" },
  { below: "1.1.0", rows: ["cut-output"], why: "keeps no file of a long output" },
  { below: "1.1.0", rows: ["mcp-prompt"], why: "prompts of MCP servers are no commands" },
  { below: "1.1.0", rows: ["pty", "engine-2"], why: "no such route" },
  { below: "1.1.0", rows: ["face-run", "face-run-command", "face-web", "face-web-shell"], why: "no `run --attach` and no `web`" },
  { below: "1.15.0", rows: ["vcs-apply"], why: "no such route" },
]

/** Why this release cannot do a row; nothing if it can. */
export const cannot = (row) => CANNOT.find((entry) => entry.rows.includes(row) && concerns(entry))?.why

/**
 * What a release does on the host by itself, whoever asked:
 *
 * what             what it is, for people
 * program, runs    a program, and its arguments as the trace has them
 * sees, row        effects by kind, as the watchers tell them; of this row alone, if one is named
 * line             of the README's list of what still runs on the user's machine
 */
const BY_ITSELF = [
  { from: "1.17.0", program: "rg", runs: /"--no-config", "--files", "--glob=!\*\*\/\.git\/\*\*", "\."\]/, what: "lists the project's files, for the search box (`rg --files`)" },
  { below: "1.17.0", program: "rg", runs: /, ("--no-config", )?"--files", "--glob=!\.git\/\*", "--hidden"(, "\.")?\]/, what: "lists the project's files, for the search box (`rg --files`)" },
  { below: "1.1.0", program: "rg", runs: /"--files", "--follow", "--hidden", "--glob=!\.git\/\*"/, sees: { r: /^rg opened \.\/links\/dir/ }, what: "lists the project's files, for the search box and the system prompt (`rg --files --follow`)" },
  { program: "rg", runs: /"--no-config", "--files", "--hidden", "--glob=!\*\*\/SKILL\.md", "--glob=!\*\*\/\.git\/\*\*", "\."\]/, what: "lists the files of a skill that is asked for (`rg --files`)" },
  { below: "1.2.0", program: "opencode", runs: /"add", "@opencode-ai\/plugin@[^"]*", "--exact"\]/, sees: { w: /^made home\/\.bun\// }, what: "installs its plugin API with the package manager in it" },
  { below: "1.17.0", row: "git-host", sees: { x: /file-view/, w: /^made outside\/mark=git-host=/ }, line: "terminals and file views", what: "its file view runs the repository's `diff.external`" },
]

export const byItself = () => BY_ITSELF.filter(concerns)

/** The entry that an effect of a row is put down to. */
export const ownEffect = (row, { kind, what }) => byItself().find((entry) => (!entry.row || entry.row === row) && entry.sees?.[kind]?.test(what))

/** Whether this release runs a program by itself: `name` without its directory, `line` as the trace has it. */
export const mayRun = (name, line) => byItself().some((entry) => entry.program === name && entry.runs.test(line))
