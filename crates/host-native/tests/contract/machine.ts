// The plugins' host in a process of its own, for the tests: a call is a line of JSON on standard input, and its
// result is one on standard output. It holds no logic.

import { createInterface } from "node:readline"
import { Machine } from "../../../../packages/shared/host"

const machine = new Machine() as unknown as Record<string, (...args: unknown[]) => unknown>
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)

const decoded = (value: any, id: number): unknown => {
  if (Array.isArray(value)) return value.map((each) => decoded(each, id))
  if (typeof value?.bytes === "string") return new Uint8Array(Buffer.from(value.bytes, "base64"))
  if (value?.listener) return (heard: string) => say({ id, heard })
  return value ?? undefined
}

const encoded = (value: any): unknown => {
  if (typeof value === "bigint") return value.toString()
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64")
  if (value?.body instanceof Uint8Array) return { head: value.head, body: encoded(value.body) }
  return value ?? null
}

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, method, args } = JSON.parse(line)
    try {
      say({ id, value: encoded(await machine[method]!(...args.map((arg: unknown) => decoded(arg, id)))) })
    } catch (error: any) {
      say({ id, code: typeof error?.code === "string" ? error.code : error?.name, message: String(error?.message ?? error) })
    }
  })
  .on("close", () => process.exit())
