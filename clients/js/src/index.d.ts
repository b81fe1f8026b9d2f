import { EventEmitter } from 'node:events'

/** Headers as anybody has them: a Headers, node's req.headers, or pairs. */
export type HeadersLike =
  | { get(name: string): string | null; entries(): Iterable<[string, string]> }
  | Record<string, string | number | readonly string[] | undefined>
  | readonly (readonly [string, string])[]

export type Action = 'interrupt' | 'rollback'
export type EndState = 'success' | 'error' | 'paused' | 'cancelled' | 'rolled_back'
export type Phase = 'acknowledged' | 'cleaned_up' | 'checkpointed'

export type StopTarget =
  | { kind: 'notify'; graceMs?: number }
  | { kind: 'process'; pid: number; token?: string; signal?: string; graceMs?: number; subreaper?: boolean }
  | { kind: string; [member: string]: unknown }

/** The members of `POST /v1/runs` (docs/PROTOCOL.md section 5.1), with camelCase names. */
export interface StartOptions {
  /** What kind of agent this is; shown, and selected by in orders. */
  agent?: string
  /** Where the run stands in the tree, the first that is given: `parent` (a run, or its id), `baggage` (a
   * header's value), `headers` (of the incoming request). Else the run in which start() is called, else what
   * OpenTelemetry has carried there, else $BAGGAGE, else it begins a tree. */
  parent?: Run | string
  baggage?: string
  headers?: HeadersLike
  /** Begins a tree whatever came in: for the service that users call. */
  entry?: boolean
  /** Of a `parent` that is named by an id of your own. */
  root?: string
  runId?: string
  threadId?: string
  labels?: Record<string, string>
  deadlineMs?: number
  onEnd?: 'cancel' | 'leave'
  onLost?: 'cancel' | 'takeover' | 'continue'
  onClientGone?: 'cancel' | 'continue'
  whenIsolated?: 'continue' | 'cancel'
  stop?: StopTarget[]
  collateral?: 'refuse' | 'allow'
  multitaskStrategy?: 'enqueue' | 'interrupt' | 'rollback' | 'reject'
  /** Ids by which others know it: `a2a`, a task id. */
  aliases?: { a2a?: string }
  linkedFrom?: string
  retryOf?: string
  resumedFrom?: string
  /** With `runId`: takes the run over from an earlier life, whose epoch this is. */
  epoch?: number
  takeover?: boolean
  /** An error where the run would be unprotected. */
  strict?: boolean
  /** The same key, the same run; one is made for each call otherwise. */
  idempotencyKey?: string
  /** Say `acknowledged` as soon as the signal's listeners have run (true). */
  autoAck?: boolean
}

export interface CancelOptions {
  action?: Action
  reason?: string
  /** Caps every grace; 0 kills now. */
  graceMs?: number
  wait?: 'none' | 'delivered' | 'stopped'
  timeoutMs?: number
  dryRun?: boolean
  expectAtMost?: number
  durability?: 'memory' | 'replicated' | 'fsynced'
}

/** The cancel answer of docs/PROTOCOL.md section 5, with camelCase names. */
export interface CancelAnswer {
  cancelId: string
  known: boolean
  complete: boolean
  pending: boolean
  toldHere?: number
  counts?: Record<string, number>
  names?: Record<string, string[] | boolean>
  [member: string]: unknown
}

export interface EndAnswer {
  runId: string
  /** What was recorded: `cancelled` where it was cancelled before it ended. */
  state: EndState | 'timeout' | 'lost'
  /** It ended by itself under a cancel: in this state. */
  finishedAnyway?: EndState
  /** No agentd, or no Redis, has heard it yet. */
  pending?: boolean
}

export interface FenceAnswer {
  granted: true
  /** This is the one checkpoint after the cancel. */
  last: boolean
  /** Nobody that outlives this machine has it. */
  unconfirmed?: boolean
}

export interface RunEvents {
  cancel: [reason: CancelledError]
  protected: []
  unprotected: []
}

export class Run extends EventEmitter<RunEvents> {
  private constructor()
  readonly runId: string
  readonly root: string
  /** From the root to this run. */
  readonly path: string[]
  readonly epoch: number
  readonly state: string
  /** Whether a cancel from outside reaches this run, as far as it is known now. */
  readonly isProtected: boolean
  /** Whether an agentd carries the run. */
  readonly isKnown: boolean
  /** Whether end() was called. */
  readonly isOver: boolean
  /** What is left of the deadline. */
  readonly deadlineMs: number | undefined
  /** Aborted with a {@link CancelledError} when the run must stop. */
  readonly signal: AbortSignal
  /** The value of the `baggage` header for whatever this run starts. */
  readonly baggage: string
  /** `existing` with our context in its baggage, other members kept. */
  headers(existing?: HeadersLike): Record<string, string>
  /** The environment for a process that this run spawns. */
  environment(env?: NodeJS.ProcessEnv): NodeJS.ProcessEnv
  ack(phase?: Phase): Promise<{ runId: string; phases: string[] }>
  /** May this checkpoint be written? Throws {@link FrozenError} or {@link FencedError} when not. */
  fence(writeId: string, bytes?: Uint8Array | string): Promise<FenceAnswer>
  /** A child outside of this tree; say it before you start it. */
  link(link: { kind?: string; to: string; [member: string]: unknown }): Promise<{ runId: string; linkId: string }>
  cancel(options?: CancelOptions): Promise<CancelAnswer>
  cancelChildren(options?: CancelOptions): Promise<CancelAnswer>
  end(state?: EndState): Promise<EndAnswer>
  [Symbol.asyncDispose](): Promise<void>
}

export interface ConnectOptions {
  /** A socket's path or http://HOST:PORT; else $BRAKEWIRE_AGENTD, else where brakectl looks. */
  agentd?: string
  /** The secret by which an agentd knows this client: keep it to adopt runs after a restart. */
  token?: string
  /** start() throws where no agentd answers, instead of a warning. */
  strict?: boolean
  /** After so long without an answer an agentd is as good as away (15,000). */
  timeoutMs?: number
}

export interface ClientEvents {
  connected: []
  disconnected: []
  /** A live run could not be registered again, and is not protected; a warning, where nobody listens. */
  refused: [run: Run, error: BrakewireError]
}

export class Client extends EventEmitter<ClientEvents> {
  constructor(options?: ConnectOptions)
  readonly agentd: string
  readonly token: string
  readonly incarnation: string
  readonly strict: boolean
  readonly isConnected: boolean
  readonly runs: Run[]
  start(options?: StartOptions): Promise<Run>
  withRun<Result>(options: StartOptions, work: (run: Run) => Result | Promise<Result>): Promise<Result>
  cancel(runId: string, options?: CancelOptions): Promise<CancelAnswer>
  close(): void
}

/** Registers a run. Throws {@link CancelledError} in a scope that was cancelled. */
export function start(options?: StartOptions): Promise<Run>
/** start(), work, end(): success when it returned, cancelled when it threw after the signal, else error. */
export function withRun<Result>(options: StartOptions, work: (run: Run) => Result | Promise<Result>): Promise<Result>
/** A client of its own, instead of the one that start() uses. */
export function connect(options?: ConnectOptions): Client
/** The client that start() uses. */
export function defaultClient(): Client
/** The run in which this code is called: inside withRun() or one of the integrations. */
export function currentRun(): Run | undefined

export class BrakewireError extends Error {
  /** Of docs/PROTOCOL.md section 5, or `unreachable`, `closed`. */
  code: string
  status?: number
  detail?: string
  retryAfterMs?: number
  problem?: Record<string, unknown>
}
export class CancelledError extends BrakewireError {
  cancelId?: string
  root?: string
  /** What was cancelled: this run, or one above it. */
  target?: string
  run?: string
  action: Action
  reason: string
  by: string
  /** What is left until the next stop target. */
  graceMs?: number
  requestedAt?: string
  traceId?: string
}
export class FrozenError extends BrakewireError {}
export class FencedError extends BrakewireError {}
export class ConflictError extends BrakewireError {
  readonly epoch: number | undefined
  readonly owner: string | undefined
}
export class UnavailableError extends BrakewireError {}
