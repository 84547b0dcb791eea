// Loads the core (Rust, compiled to WebAssembly) and carries calls to it.

import { readFileSync } from "node:fs"
import { Core, initSync } from "./generated/core.js"
import type { Calls, Init } from "./generated/types.js"
import { mortal } from "./mortal.js"

export type Call = <K extends keyof Calls>(name: K, params: Calls[K]["params"]) => Promise<Calls[K]["result"]>

/** Throws if the core cannot be loaded. `side` is what the core calls: see crates/wasm. */
export function load(side: object, init: Init): Call {
  initSync({ module: readFileSync(new URL("./generated/core_bg.wasm", import.meta.url)) })
  const core = new Core(side, JSON.stringify(init))
  // A lone half of a UTF-16 pair, which a model can send, is no text in Rust.
  const text = (_: string, value: unknown) => (typeof value === "string" ? value.toWellFormed() : value)
  return async (name, params) => JSON.parse(await mortal(core.call(name, JSON.stringify(params, text))))
}
