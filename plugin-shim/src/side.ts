// OpenCode, for the core: permission questions, parents of sessions, toasts, the log. See `OpenCode` in crates/plugin.

import { spawnSync } from "node:child_process"
import { writeSync } from "node:fs"
import { isatty } from "node:tty"
import type { PluginInput, ToolContext } from "@opencode-ai/plugin"
import type { Permission, Progress } from "./generated/types.js"
import { NAME } from "./name.js"
import { Machine } from "./shared/host.js"
import { die } from "./shared/mortal.js"
import { log, release, toast } from "./shared/opencode.js"

/**
 * The task (a fiber of the library Effect) in which OpenCode runs a tool. `context.metadata()` only
 * makes an effect, and nobody runs it; run in a fiber with OpenCode's own context it reaches the
 * terminal. This is not a documented interface (1.18.33, November 2026), so whatever is missing
 * means: no live output, and nothing else.
 */
export interface Fiber {
  readonly context: unknown
  readonly constructor: Function
}

/** The fiber of the caller; only right before the first await of a tool's `execute`. */
export function currentFiber(): Fiber | undefined {
  return (globalThis as Record<string, unknown>)["~effect/Fiber/currentFiber"] as Fiber | undefined
}

/** A tool call that is under way. */
export interface Running {
  context: ToolContext
  /** OpenCode's own task that runs the call; see `progress`. */
  fiber: Fiber | undefined
  /** What OpenCode threw at a permission question: thrown on unchanged. */
  rejection?: unknown
}

export class Side extends Machine {
  readonly running = new Map<number, Running>()
  #agents: Promise<unknown> | undefined
  readonly #release: Promise<string | undefined>

  constructor(readonly client: PluginInput["client"]) {
    super()
    // Asked before the core is compiled, which takes longer than the answer.
    this.#release = release(client).catch(() => undefined)
  }

  dead(message: string): void {
    die(`${NAME} has crashed and refuses every tool until OpenCode is started again: ${message}`)
  }

  release(): Promise<string | undefined> {
    return this.#release
  }

  /** Undefined if nobody was asked: releases up to 1.15.4 give back something that is no promise, and ask nothing. */
  async ask(call: number, json: string): Promise<boolean | undefined> {
    const running = this.running.get(call)
    if (!running) return false
    const question: Permission = JSON.parse(json)
    try {
      const asked = running.context.ask?.(question) as Promise<unknown> | undefined
      if (typeof asked?.then !== "function") return undefined
      await asked
      return true
    } catch (error) {
      running.rejection = error
      return false
    }
  }

  async parent(sessionID: string): Promise<string | undefined> {
    const session = await this.client.session.get({ path: { id: sessionID }, throwOnError: true })
    return session.data.parentID
  }

  /** The status that OpenCode answers when it is asked for a session. */
  async find(sessionID: string): Promise<number> {
    return (await this.client.session.get({ path: { id: sessionID } })).response.status
  }

  async rules(sessionID: string): Promise<string> {
    // Agents are fixed as long as an instance of OpenCode lives; a session's own rules are not.
    this.#agents ??= this.client.app.agents({ throwOnError: true }).then(({ data }) => data)
    this.#agents.catch(() => (this.#agents = undefined))
    const session = this.client.session.get({ path: { id: sessionID }, throwOnError: true })
    return JSON.stringify({ agents: await this.#agents, session: (await session).data })
  }

  async registered(): Promise<string> {
    const [tools, servers] = await Promise.all([this.client.tool.ids({ throwOnError: true }), this.client.mcp.status({ throwOnError: true })])
    return JSON.stringify({ tools: tools.data, servers: Object.keys(servers.data) })
  }

  async sessions(): Promise<string> {
    return JSON.stringify((await this.client.session.list({ throwOnError: true })).data)
  }

  async messages(sessionID: string): Promise<string> {
    return JSON.stringify((await this.client.session.messages({ path: { id: sessionID }, throwOnError: true })).data)
  }

  progress(call: number, json: string): void {
    const running = this.running.get(call)
    if (!running?.fiber) return
    const { title, output }: Progress = JSON.parse(json)
    try {
      const { constructor, context } = running.fiber
      const fiber = Reflect.construct(constructor, [context, true])
      fiber.evaluate(running.context.metadata(output === null ? {} : { title, metadata: { output } }))
    } catch {
      running.fiber = undefined
    }
  }

  toast(json: string): void {
    toast(this.client, JSON.parse(json))
  }

  terminal(line: string): boolean {
    // Past the streams of this thread, which OpenCode has for itself.
    if (!isatty(0) || !isatty(2)) return true
    const { stdout } = spawnSync("stty", ["-a"], { stdio: ["inherit", "pipe", "ignore"], encoding: "utf8" })
    if (/(^|\s)-icanon\b/.test(stdout ?? "")) return false
    writeSync(2, `${line}\n`)
    return true
  }

  log(level: string, message: string): void {
    log(this.client, NAME, level, message)
  }
}
