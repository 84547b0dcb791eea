// The core of this package (crates/wasm), as the generated files describe it.

import { Core, initSync } from "./generated/core.js"
import type { Calls, Init } from "./generated/types.js"
import * as core from "./shared/core.js"

export type Call = core.Call<Calls>

/** Throws if the core cannot be loaded. */
export function load(side: object, init: Init): Call {
  return core.load<Calls>({ Core, initSync }, new URL("./generated/core_bg.wasm", import.meta.url), side, init)
}
