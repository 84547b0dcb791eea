// The plugin, as OpenCode loads it. It carries calls to the core (Rust, compiled to WebAssembly)
// and decides nothing. The one thing it must do by itself: whatever fails here, the same tools are
// registered and refuse, because without them OpenCode would use its own, on the host.

import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Config, Hooks, PluginInput, PluginModule, ToolContext, ToolDefinition, ToolResult } from "@opencode-ai/plugin"
import { catalog } from "./generated/catalog.js"
import { type Call, load } from "./core.js"
import type { ToolDefinition as Definition } from "./generated/types.js"
import { NAME as id } from "./name.js"
import { beforeSignal } from "./shared/signals.js"
import { message } from "./shared/told.js"
import { currentFiber, Side } from "./side.js"
import type { Context } from "./two.js"

const here = dirname(fileURLToPath(import.meta.url))
let serial = 0

async function server(input: PluginInput, options?: Record<string, unknown>): Promise<Hooks> {
  const side = new Side(input.client)
  const shell = join(here, "sandbox-shell")
  let failure: unknown
  let call: Call = async () => {
    throw new Error(`${id} could not be loaded, so every tool refuses: ${message(failure)}`)
  }
  let definitions: Definition[] = catalog
  let mark = ""
  let events: string[] = []
  try {
    const { directory, worktree, project } = input
    const assets = join(here, "runners")
    call = load(side, { directory, worktree, projectId: project.id, projectSince: project.time?.created ?? null, options: options ?? null, assets, shell, javascript: process.execPath })
    const started = await call("start", {})
    definitions = catalog.filter(({ name }) => !started.without.includes(name))
    mark = started.mark
    events = started.events
  } catch (error) {
    failure = error
    side.log("error", message(error))
    side.toast(JSON.stringify({ title: "Sandbox unavailable", message: message(error), variant: "error" }))
  }
  // OpenCode writes its own `truncated` over that of a plugin's result: what was given is put back.
  const given = new Map<string, Record<string, unknown>>()
  // Names of ours under which another plugin's tool was offered.
  const theirs = new Set<string>()
  const schemas = new Map(definitions.map((tool) => [tool.name, tool.schema]))

  const execute = async (tool: string, args: unknown, context: ToolContext): Promise<ToolResult> => {
    const number = ++serial
    const own = { context, fiber: currentFiber(), rejection: undefined as unknown }
    const abort = () => void call("abort", { call: number }).catch(() => {})
    side.running.set(number, own)
    context.abort.addEventListener("abort", abort)
    try {
      const { sessionID: sessionId, agent } = context
      const running = call("execute", { call: number, tool, args, sessionId, agent })
      if (context.abort.aborted) abort()
      const result = await running
      if (result.kind === "rejected") throw own.rejection ?? new Error("The permission question could not be asked.")
      if (result.kind === "failed") throw new Error(result.message)
      const { title, output, metadata, attachments } = result
      const { callID } = context as ToolContext & { callID?: string }
      // OpenCode does not come back for an aborted call.
      if (callID && !context.abort.aborted) given.set(callID, metadata)
      return { title, output, metadata, attachments: attachments.map((file) => ({ type: "file", ...file })) }
    } finally {
      side.running.delete(number)
      context.abort.removeEventListener("abort", abort)
    }
  }
  const define = ({ name, description }: Definition): [string, ToolDefinition] => [
    name,
    // The mark is taken away, and the schema set, when the tool is offered (`tool.definition`).
    { description: description + mark, args: {}, execute: (args, context) => execute(name, args, context) },
  ]

  const dispose = () => call("dispose", {}).catch(() => {})
  const forget = beforeSignal(dispose)

  return {
    tool: Object.fromEntries(definitions.map(define)),
    async config(config: Config & { shell?: string }) {
      const now = { permission: config.permission ?? null, tools: config.tools ?? null, shell: config.shell ?? null, servers: Object.keys(config.mcp ?? {}) }
      const { settings } = await call("config", now).catch(() => ({ settings: { shell, snapshot: false, lsp: false } }))
      Object.assign(config, settings)
    },
    async event({ event }) {
      // A part in the making comes as an event per word: only what the core asked for crosses.
      if (!events.includes(event.type)) return
      await call("event", { type: event.type, properties: event.properties }).catch(() => {})
    },
    async "chat.message"({ sessionID }, output) {
      // What OpenCode has read of the host goes no further, if nobody can say what it is.
      const typed = () => ({ parts: output.parts.filter((part) => part.type !== "file" && !(part.type === "text" && part.synthetic)) })
      const { parts } = await call("message", { sessionId: sessionID, messageId: output.message.id, parts: output.parts }).catch(typed)
      output.parts.splice(0, output.parts.length, ...(parts as typeof output.parts))
    },
    async "command.execute.before"({ sessionID }, output) {
      const { parts } = await call("command", { sessionId: sessionID, messageId: null, parts: output.parts }).catch(() => output)
      output.parts.splice(0, output.parts.length, ...(parts as typeof output.parts))
    },
    async "shell.env"({ sessionID }, output) {
      const refused = (error: unknown) => ({ env: { OPENCODE_DAYTONA_REFUSED: message(error) } })
      const { env } = await call("shellEnv", { sessionId: sessionID ?? null }).catch(refused)
      Object.assign(output.env, env)
    },
    async "tool.definition"({ toolID }, output) {
      const { description, parameters } = output
      const unknown = () => ({ set: schemas.has(toolID) ? { jsonSchema: schemas.get(toolID) } : {}, theirs: false })
      const offered = await call("offer", { tool: toolID, builtIn: "fields" in Object(parameters), description, describable: "jsonSchema" in output }).catch(unknown)
      if (offered.theirs) theirs.add(toolID)
      Object.assign(output, offered.set)
    },
    async "tool.execute.before"({ tool }, output) {
      const { refuse, replace } = await call("before", { tool, args: output.args })
      if (refuse !== null) throw new Error(refuse)
      if (replace) Object.assign(output.args, replace)
    },
    async "tool.execute.after"({ tool, sessionID, callID }, output) {
      if (output && (!schemas.has(tool) || theirs.has(tool))) Object.assign(output, (await call("after", { tool, sessionId: sessionID, result: output })).result)
      Object.assign(output?.metadata ?? {}, given.get(callID))
      given.delete(callID)
    },
    async "experimental.chat.system.transform"(_, output) {
      const { system } = await call("system", { system: output.system }).catch(() => output)
      output.system.splice(0, output.system.length, ...system)
    },
    async dispose() {
      await dispose()
      forget()
    },
  }
}

/** OpenCode 2's; OpenCode 1 has no use for the file. */
const setup = async (context: Context): Promise<void> => (await import("./two.js")).setup(context, message)

export default { id, server, setup } satisfies PluginModule & { setup: unknown }
