/* What start() was asked for -> the body of POST /v1/runs, and where the run stands in the tree. */
import { ContextError, fromEnvironment, fromHeaders, othersOf, parse } from './context.js'
import { carriedBaggage, currentRun } from './current.js'
import { toWire } from './words.js'

/* These say where, or how we do it; the rest are members of the body. */
const ours = new Set(['headers', 'idempotencyKey', 'autoAck', 'parent', 'baggage'])

/* Where the run stands: what was said, else where this code is called (a run, a request that OpenTelemetry
 * has seen), else the environment. */
function placeOf(options) {
  if (options.entry) return { others: othersOf(fromHeaders(options.headers)) }
  const { parent } = options
  if (typeof parent === 'string') return { parent, others: othersOf(fromHeaders(options.headers) ?? options.baggage) }
  if (parent !== undefined && parent !== null) return { baggage: parent.baggage }
  if (options.baggage !== undefined) return { baggage: options.baggage, mustParse: true }
  const header = fromHeaders(options.headers)
  const inherited = () => currentRun()?.baggage ?? carriedBaggage() ?? fromEnvironment()
  if (header === undefined) return { baggage: inherited() }
  const context = parsed(header)
  if (context !== undefined && context.path !== null) return { baggage: header }
  return { baggage: inherited(), others: othersOf(header) }
}

/* undefined: what a stranger sent is no context; the run begins a tree of its own. */
function parsed(header) {
  try {
    return parse(header)
  } catch (error) {
    if (error instanceof ContextError) return undefined
    throw error
  }
}

/* An id that a daemon minted names its root. */
const MINTED = /^(0[0-9A-Za-z]{20})(?:-[0-9A-Za-z]{1,16})?$/

function pathTo(parent, root = MINTED.exec(parent)?.[1] ?? parent) {
  return root === parent ? parent : `${root}..${parent}`
}

/* -> { body, autoAck, path, ttlMs, signed, others }: what is posted, and what this process itself must
 * know of the context. Throws ContextError: the `baggage` that was given is not valid. */
export function askOf(options) {
  const place = placeOf(options)
  if (place.mustParse) parse(place.baggage)
  const context = parsed(place.baggage)
  const named = Object.fromEntries(Object.entries(options).filter(([name]) => !ours.has(name)))
  const body = { on_client_gone: 'cancel', ...toWire(named) }
  if (place.parent !== undefined) body.parent = place.parent
  else if (context !== undefined && context.path !== null) body.baggage = place.baggage
  return {
    body,
    autoAck: options.autoAck ?? true,
    path: place.parent !== undefined ? pathTo(place.parent, options.root) : (context?.path ?? null),
    ttlMs: context?.ttlMs ?? null,
    /* Without an agentd nobody can append to it: it goes on as it came. */
    signed: context?.keyId === undefined ? undefined : `brakewire=1.${context.path}~${context.keyId}~${context.mac}`,
    others: place.others ?? context?.others ?? '',
  }
}
