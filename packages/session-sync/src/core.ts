// Loads session sync's core. It is compiled beside OpenCode's start, which waits for nothing of it.

import { readFile } from "node:fs/promises"
import * as generated from "./generated/core.js"
import type { Calls, Init } from "./generated/types.js"
import { type Call, carry } from "./shared/core.js"

let compiled: Promise<unknown> | undefined

/** Rejects if the core cannot be loaded. `side` is what the core calls: see crates/wasm-session-sync. */
export async function load(side: object, directory: string): Promise<Call<Calls>> {
  const file = new URL("./generated/core_bg.wasm", import.meta.url)
  // Once for all instances of OpenCode in this process: they share one memory.
  await (compiled ??= readFile(file)
    .then((bytes) => WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>))
    .then((module) => generated.initSync({ module })))
  const init: Init = { directory, environment: process.env as Record<string, string> }
  return carry<Calls>(generated, side, init)
}
