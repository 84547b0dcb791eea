// Generated from crates/session-sync/src/edge.rs by `cargo xtask types`. Do not edit.

export type Init = { 
/**
 * OpenCode's directory, or the terminal's.
 */
directory: string, 
/**
 * The environment: the values of its secrets never leave.
 */
environment: { [key in string]: string }, };

export type Nothing = Record<symbol, never>;

export type Event = { 
/**
 * OpenCode's name for it.
 */
type: string, 
/**
 * The session.
 */
sessionId: string, 
/**
 * Of `session.status`: busy, retry or idle.
 */
status: string | null, };

export type Disposed = { 
/**
 * Arguments of the command that brings out what is left; none if nothing is.
 */
command: Array<string> | null, };

export type Command = { 
/**
 * Its words.
 */
args: Array<string>, };

export type Ended = { 
/**
 * The exit code.
 */
exit: number, };

/** Events that the core hears of. */
export const events: readonly string[] = ["session.created","session.updated","session.deleted","session.idle","session.error","session.compacted","session.status","message.updated","message.removed","message.part.updated","message.part.removed"]

/** Every call: what goes in, what comes out. */
export interface Calls {
  start: { params: Nothing, result: Nothing }
  event: { params: Event, result: Nothing }
  dispose: { params: Nothing, result: Disposed }
  command: { params: Command, result: Ended }
}
