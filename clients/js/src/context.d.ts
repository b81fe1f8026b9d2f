import type { HeadersLike } from './index.js'

/** https://brakewire.dev/a2a/ext/run-context/v1 */
export const A2A_EXTENSION: string
export const BAGGAGE_MAX_BYTES: number

export class ContextError extends Error {
  code: 'malformed' | 'too_large' | 'invalid'
}

export interface Context {
  /** Ids joined by dots, root first; null: no member of ours. */
  path: string | null
  ttlMs: number | null
  keyId?: string
  mac?: string
  /** The members of others, as one value. */
  others: string
}

export interface Key {
  id: string
  secret: string | Uint8Array
}

/** Reads a header's value (several joined by commas). Throws {@link ContextError}. */
export function parse(header: string | null | undefined): Context
/** The header's value for children of the run at the end of `path`. */
export function format(context: { path: string; ttlMs?: number | null; others?: string; key?: Key }): string
/** The path of a run below the one at the end of `path` ('' for none). */
export function append(path: string, id: string): string
/** At more than 16 ids or 1024 bytes the root and the last 14 stay. */
export function cut(path: string): string
export type Verdict = 'good' | 'unsigned' | 'unknown_key' | 'forged' | 'none' | 'malformed'
/** What is to be thought of our member's signature. keys: { <key id>: secret }. */
export function verify(header: string | null | undefined, keys: Record<string, string | Uint8Array>): Verdict
/** The one header of a request that has one already: `ours` is a run's header for its children. */
export function merge(ours: string, existing: string | null | undefined): string
export function isPath(path: unknown): path is string
export function othersOf(header: string | null | undefined): string

export function fromHeaders(headers: HeadersLike | null | undefined): string | undefined
export function toHeaders(baggage: string, headers?: HeadersLike | null): Record<string, string>
export function fromA2A(message: unknown): string | undefined
export function toA2A<Message extends object>(
  baggage: string,
  message?: Message,
): Message & { extensions: string[]; metadata: Record<string, unknown> }
export function fromMcp(params: unknown): string | undefined
export function toMcp<Params extends object>(
  baggage: string,
  params?: Params,
): Params & { _meta: Record<string, unknown> & { baggage: string } }
export function fromEnvironment(env?: NodeJS.ProcessEnv): string | undefined
export function toEnvironment(baggage: string, env?: NodeJS.ProcessEnv): NodeJS.ProcessEnv
