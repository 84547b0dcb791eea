// Generated from crates/plugin/src/wire.rs and dispatch.rs by `cargo xtask types`. Do not edit.

export type Init = { directory: string, worktree: string, projectId: string, 
/**
 * When OpenCode came to know the project, in milliseconds since the epoch.
 */
projectSince: number | null, 
/**
 * Options of the plugin entry in `opencode.json`, as they stand there.
 */
options: unknown, 
/**
 * Directory of the packaged files (runners).
 */
assets: string, 
/**
 * The packaged program that stands in for the shell of `!command`.
 */
shell: string, 
/**
 * The program that runs JavaScript: OpenCode's own.
 */
javascript: string, };

export type Nothing = Record<symbol, never>;

export type Started = { 
/**
 * Tools of the catalog that are OpenCode's own this time.
 */
without: Array<string>, 
/**
 * Follows the description of each tool when it is registered: by it the tool is known again.
 */
mark: string, 
/**
 * Kinds of events that the plugin wants to hear of.
 */
events: Array<string>, 
/**
 * Why every tool will refuse, if it will.
 */
problem: string | null, };

export type ToolDefinition = { name: string, description: string, schema: Record<string, unknown>, };

export type Execute = { 
/**
 * Names this call in `abort` and in permission questions.
 */
call: number, tool: string, args: unknown, sessionId: string, 
/**
 * Whose rules hold.
 */
agent: string, };

export type Executed = { "kind": "done" } & Done | { "kind": "failed", 
/**
 * Its text.
 */
message: string, } | { "kind": "rejected" };

export type Done = { title: string, output: string, metadata: Record<string, unknown>, attachments: Array<{ mime: string, url: string }>, };

export type Call = { call: number, };

export type Parts = { sessionId: string, 
/**
 * The user's message that they belong to.
 */
messageId: string | null, parts: unknown[], };

export type ShellStart = { sessionId: string | null, };

export type Environment = { env: { [key in string]: string }, };

export type Shell = { call: number, sessionId: string, command: string, 
/**
 * The user's message that it belongs to, as far as that was known.
 */
turn: string | null, };

export type Shelled = { 
/**
 * Output that was not shown by `progress`.
 */
rest: string, 
/**
 * Exit code.
 */
exit: number, };

export type Cli = { 
/**
 * Names this run in `abort`.
 */
call: number, args: Array<string>, directory: string, };

export type CliDone = { output: string, exit: number, };

export type ToolResult = { sessionId: string, tool: string, 
/**
 * With `output` for OpenCode's own and plugins' tools, with `content` (a list of texts and
 * files) for those of MCP servers.
 */
result: object, };

export type Event = { type: string, properties: unknown, };

export type ToolBefore = { tool: string, args: unknown, };

export type ToolVerdict = { 
/**
 * The tool must not run, and why.
 */
refuse: string | null, 
/**
 * Arguments to change, by name; none if there is nothing to change.
 */
replace: Record<string, unknown> | null, };

export type ToolOffer = { tool: string, 
/**
 * Its parameters are a structure, as a built-in's are; a plugin's are opaque.
 */
builtIn: boolean, 
/**
 * What OpenCode would tell the model of it.
 */
description: string, 
/**
 * A plugin can say what its arguments are.
 */
describable: boolean, };

export type Offered = { 
/**
 * Parts of the offer to set.
 */
set: Record<string, unknown>, 
/**
 * It has the name of one of our tools, and is another plugin's.
 */
theirs: boolean, };

export type System = { system: Array<string>, };

export type ConfigNow = { permission: unknown, 
/**
 * Tools that are switched on or off.
 */
tools: unknown, 
/**
 * The program that runs `!command`.
 */
shell: string | null, 
/**
 * Names of the MCP servers.
 */
servers: Array<string>, };

export type ConfigPatch = { 
/**
 * Keys of OpenCode's configuration to set.
 */
settings: Record<string, unknown>, };

export type Permission = { permission: string, patterns: Array<string>, always: Array<string>, metadata: Record<string, unknown>, };

export type Progress = { title: string, 
/**
 * What a command has printed so far, or what the call waits for. None shows what OpenCode shows
 * of a call that has said nothing.
 */
output: string | null, };

export type Toast = { title: string, message: string, 
/**
 * `info`, `success`, `warning` or `error`.
 */
variant: string, };

/** Every call: what goes in, what comes out. */
export interface Calls {
  start: { params: Nothing, result: Started }
  config: { params: ConfigNow, result: ConfigPatch }
  execute: { params: Execute, result: Executed }
  abort: { params: Call, result: Nothing }
  message: { params: Parts, result: Parts }
  command: { params: Parts, result: Parts }
  shellEnv: { params: ShellStart, result: Environment }
  shell: { params: Shell, result: Shelled }
  event: { params: Event, result: Nothing }
  offer: { params: ToolOffer, result: Offered }
  before: { params: ToolBefore, result: ToolVerdict }
  after: { params: ToolResult, result: ToolResult }
  system: { params: System, result: System }
  cli: { params: Cli, result: CliDone }
  dispose: { params: Nothing, result: Nothing }
}
