// Loads a core (Rust, compiled to WebAssembly) and carries calls to it.

import { readFileSync } from "node:fs"
import { mortal } from "./mortal.js"

/** The generated table of calls: what goes in, what comes out. */
type Table<Calls> = { [K in keyof Calls]: { params: unknown; result: unknown } }

export type Call<Calls extends Table<Calls>> = <K extends keyof Calls & string>(name: K, params: Calls[K]["params"]) => Promise<Calls[K]["result"]>

/** What wasm-bindgen made of a core. */
interface Generated {
  readonly Core: new (side: object, init: string) => { call(name: string, params: string): Promise<string> }
  initSync(module: { module: BufferSource }): unknown
}

/** Throws if the core cannot be loaded. `wasm` is its file, `side` what it calls: see crates/wasm. */
export function load<Calls extends Table<Calls>>({ Core, initSync }: Generated, wasm: URL, side: object, init: object): Call<Calls> {
  initSync({ module: readFileSync(wasm) })
  const core = new Core(side, JSON.stringify(init))
  // A lone half of a UTF-16 pair, which a model can send, is no text in Rust.
  const text = (_: string, value: unknown) => (typeof value === "string" ? value.toWellFormed() : value)
  return async (name, params) => JSON.parse(await mortal(core.call(name, JSON.stringify(params, text))))
}
