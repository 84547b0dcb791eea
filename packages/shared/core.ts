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

/** JSON text. A lone half of a UTF-16 pair, which a model can send, is no text in Rust. */
export function json(value: unknown): string {
  return JSON.stringify(value, (_, text: unknown) => (typeof text === "string" ? text.toWellFormed() : text))
}

/** Carries calls to a core whose module is there. `side` is what it calls: see crates/wasm. */
export function carry<Calls extends Table<Calls>>({ Core }: Pick<Generated, "Core">, side: object, init: object): Call<Calls> {
  const core = new Core(side, JSON.stringify(init))
  return async (name, params) => JSON.parse(await mortal(core.call(name, json(params))))
}

/** Loads a core from its file, and carries calls to it. Throws if it cannot be loaded. */
export function load<Calls extends Table<Calls>>(generated: Generated, wasm: URL, side: object, init: object): Call<Calls> {
  generated.initSync({ module: readFileSync(wasm) })
  return carry(generated, side, init)
}
