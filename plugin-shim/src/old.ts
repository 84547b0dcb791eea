// What OpenCode up to 1.3 loads: these releases import the package's `main` and call what it exports.
// The plugin cannot serve them, and without it they would use their own tools on this machine, so every
// tool refuses. No core is needed for that. Nothing here may throw: these releases go on without a plugin
// that throws, or do not start.

import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Config, Hooks, PluginInput, ToolDefinition } from "@opencode-ai/plugin"
import { refusals } from "./generated/refusals.js"
import { NAME } from "./name.js"
import { log, release, toast } from "./shared/opencode.js"

const { text, tools, harmless } = refusals.tooOld
/** OpenCode 1.0 answers no plugin before all are loaded. */
const ANSWER_MS = 1_500

interface Bun {
  readonly Bun?: { readonly $?: (texts: TemplateStringsArray) => object }
}

/** A command in what a user types or a server sends as a template runs in Bun's own shell, where nothing else runs without a directory. */
function disarm(reason: () => string): void {
  try {
    const { $ } = (globalThis as Bun).Bun ?? {}
    if (!$) return
    const shell = Object.getPrototypeOf($`true`) as Record<"cwd" | "text", (...args: unknown[]) => unknown>
    const { cwd, text } = shell
    const placed = new WeakSet<object>()
    shell.cwd = function (this: object, ...args) {
      placed.add(this)
      return cwd.apply(this, args)
    }
    shell.text = function (this: object, ...args) {
      if (!placed.has(this)) throw new Error(reason())
      return text.apply(this, args)
    }
  } catch {}
}

export default async function old(input: PluginInput): Promise<Hooks> {
  let reason = text.replace("{release}", "an older one")
  const shell = join(dirname(fileURLToPath(import.meta.url)), "sandbox-shell")
  const say = () => {
    // The user's shell is the one in the environment, and `sandbox-shell` prints this and runs nothing.
    Object.assign(process.env, { SHELL: shell, OPENCODE_DAYTONA_REFUSED: reason })
  }
  say()
  disarm(() => reason)
  const { client } = input
  const known = async () => {
    const found = await release(client).catch(() => undefined)
    if (found) reason = text.replace("{release}", found)
    say()
  }
  const late = new Promise((done) => setTimeout(done, ANSWER_MS))
  void Promise.race([known(), late]).then(() => {
    log(client, NAME, "error", reason)
    toast(client, { title: "Sandbox unavailable", message: reason, variant: "error" })
  })
  const refuse = async (): Promise<never> => {
    throw new Error(reason)
  }
  const tool: ToolDefinition = { description: reason, args: {}, execute: refuse }
  return {
    tool: Object.fromEntries(tools.map((name) => [name, tool])),
    async config(config: Config & { snapshot?: boolean; lsp?: unknown }) {
      Object.assign(config, { snapshot: false, lsp: false })
      // Commands in a template run in a shell that cannot be replaced.
      for (const command of Object.values(config.command ?? {})) command.template = command.template.replaceAll("!`", "`")
    },
    async "chat.message"(_, { parts }) {
      // What OpenCode has read of this machine goes no further.
      const typed = parts.filter((part) => part.type !== "file" && !(part.type === "text" && part.synthetic))
      parts.splice(0, parts.length, ...typed)
    },
    async "shell.env"(_, output) {
      Object.assign(output.env, { OPENCODE_DAYTONA_REFUSED: reason })
    },
    async "tool.execute.before"({ tool }) {
      if (!(harmless as readonly string[]).includes(tool)) await refuse()
    },
  }
}
