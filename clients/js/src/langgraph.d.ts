import type { Client, Run, StartOptions } from './index.js'

/** Options of start() for each invocation, and the client that starts it (the default one). */
export type ProtectOptions = StartOptions & { client?: Client }

/** What is used of a graph: any compiled one of LangGraph.js. */
export interface GraphLike {
  invoke(input: any, options?: any): Promise<any>
  stream(input: any, options?: any): Promise<any>
}

/** The same graph, each of whose invocations is a run below the current one: `agent` is its name, `threadId` that of
 * the config, and a `baggage` in the config's `configurable` its context. An invocation that was cancelled throws
 * CancelledError; its run ends when the last of its nodes has returned, also where LangGraph gave that node up. Whatever
 * checkpointer it has, or is given later, is fenced(). */
export function protect<Graph extends GraphLike>(graph: Graph, options?: ProtectOptions | ((config: any) => ProtectOptions)): Graph

/** A node that is a run of its own: `config.signal` is aborted with it. */
export function node<State, Config extends { signal?: AbortSignal }, Update>(
  work: (state: State, config: Config & { signal: AbortSignal }, run: Run) => Update | Promise<Update>,
  options?: ProtectOptions,
): (state: State, config: Config) => Promise<Update>

/** What is used of a checkpointer: any BaseCheckpointSaver. */
export interface SaverLike {
  put(...args: any[]): Promise<any>
  putWrites(...args: any[]): Promise<any>
}

/** The same checkpointer, which asks the fence of the run (`run`, else the current one) before it writes. After a cancel it
 * stores no writes of single tasks and one last checkpoint; what it does not store throws FrozenError or FencedError. */
export function fenced<Saver extends SaverLike>(saver: Saver, options?: { run?: Run }): Saver
