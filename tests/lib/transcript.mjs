// What a demo prints, and how it is set up. Every line that says "ok" was checked.

import { execFileSync } from "node:child_process"
import { stripVTControlCharacters } from "node:util"
import { ensureLocal, ensurePackage, ensurePackages, ensurePrograms, ensureTools, enterPrograms, packageIsBuilt } from "./setup.mjs"

let sections = 0
export const print = (line = "") => process.stdout.write(`${line}\n`)
export const section = (title) => print(`\n${++sections}. ${title}\n`)
export const item = (name, value) => print(`   ${name.padEnd(16)} ${value}`)
export const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`

/** Prints a claim that holds, or ends the demo. */
export function ok(claim, holds, detail = "") {
  if (!holds) throw new Error(`not so: ${claim}${detail ? `\n${detail}` : ""}`)
  print(`   ok  ${claim}`)
}

/** Prints output, shortened and indented. */
export function block(text, limit = 8) {
  const lines = stripVTControlCharacters(text).trimEnd().split("\n")
  for (const line of lines.slice(0, limit)) print(`          | ${line.length > 88 ? `${line.slice(0, 85)}...` : line}`)
  if (lines.length > limit) print(`          | (${lines.length - limit} more lines)`)
}

/** Builds what is missing. Session sync needs no `daytona-local`. */
export function setUp({ command, local = true }) {
  const done = (name, how, since) => item(name, since === undefined ? how : `${how} in ${seconds(since)}`)
  const build = (name, verb, otherwise, work) => {
    const start = Date.now()
    if (work()) done(name, verb, start)
    else done(name, otherwise)
  }
  ensureTools()
  item("tools", `node ${process.versions.node}, ${version("cargo")}, ${version("git")}`)
  build("npm packages", "installed", "installed already", () => ensurePackages({ quiet: true }))
  ensurePrograms()
  item("programs", "all there")
  const rebuild = process.argv.includes("--rebuild")
  if (rebuild || !packageIsBuilt()) item("packages", "building (minutes, the first time)")
  build("packages", "built", `built already; \`npm run ${command} -- --rebuild\` builds them again`, () => ensurePackage({ reuse: !rebuild, quiet: true }))
  if (local) build("daytona-local", "built", "named by DAYTONA_LOCAL_BIN", () => ensureLocal({ quiet: true }))
  enterPrograms()
}

const version = (command) => execFileSync(command, ["--version"], { encoding: "utf8" }).trim().replace(" version", "").split(" (")[0]
