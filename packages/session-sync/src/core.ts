// Loads session sync's core (crates/wasm-session-sync). It is compiled beside OpenCode's start, which waits for
// nothing of it.

import { readFile } from "node:fs/promises"
import type { PluginInput } from "@opencode-ai/plugin"
import { Core, initSync } from "./generated/core.js"
import type { Calls, Init } from "./generated/types.js"
import { type Call, carry } from "./shared/core.js"
import { Side } from "./side.js"

let compiled: Promise<unknown> | undefined

/** Rejects if the core cannot be loaded. `side` is what the core calls. */
export async function load(side: object, directory: string): Promise<Call<Calls>> {
  // Once for all instances of OpenCode in this process: they share one memory.
  await (compiled ??= compile())
  const init: Init = { directory, environment: process.env as Record<string, string> }
  return carry<Calls>({ Core }, side, init)
}

async function compile(): Promise<void> {
  const bytes = await readFile(new URL("./generated/core_bg.wasm", import.meta.url))
  initSync({ module: await WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>) })
}

/** The plugin of an OpenCode, at work. */
export async function start(client: PluginInput["client"], directory: string): Promise<Call<Calls>> {
  const call = await load(new Side(client), directory)
  await call("start", {})
  return call
}
