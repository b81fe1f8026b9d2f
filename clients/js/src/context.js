/* The context between agents: one member of W3C baggage (https://www.w3.org/TR/baggage/), as
 * docs/PROTOCOL.md section 6 has it.
 *
 *     baggage: brakewire=1.<root>.<…>.<self>[~<key id>~<mac>],brakewire-ttl=<ms>,<others untouched>
 *
 * It is a claim of descent, never a right to cancel. Held to tests/vectors/baggage.json. */
import { createHmac, timingSafeEqual } from 'node:crypto'

export const A2A_EXTENSION = 'https://brakewire.dev/a2a/ext/run-context/v1'

export const BAGGAGE_MAX_BYTES = 8192
/* Some libraries drop the last ones of more. */
const MEMBERS_MAX = 180
const MEMBER_MAX_BYTES = 1024
const IDS_MAX = 16
const IDS_KEPT_AT_END = 14
const PATH_MAX_IDS = 128
const PATH_KEY = 'brakewire'
const TTL_KEY = 'brakewire-ttl'
const VERSION = '1'
const ID = /^[A-Za-z0-9_-]{1,64}$/
const KEY_ID = /^[A-Za-z0-9_-]{1,16}$/
const TTL_MAX = 2n ** 63n - 1n
const MAC_CHARS = 22

export class ContextError extends Error {
  /* code: malformed | too_large | invalid */
  constructor(code, message) {
    super(message)
    this.name = 'ContextError'
    this.code = code
  }
}

const trim = (text) => text.replace(/^[ \t]+|[ \t]+$/g, '')

/* key "=" value *( ";" property ); properties say nothing to us. */
function keyOf(member) {
  return trim(member.split('=', 1)[0])
}
function valueOf(member) {
  const at = member.indexOf('=')
  return at < 0 ? '' : trim(member.slice(at + 1).split(';', 1)[0])
}

export function isPath(path) {
  if (typeof path !== 'string') return false
  const ids = path.split('.')
  const cut = ids.indexOf('')
  if (cut === 1) ids.splice(1, 1)
  return ids.length <= PATH_MAX_IDS && (cut !== 1 || ids.length > 1) && ids.every((id) => ID.test(id))
}

/* A member's value -> { path, claim, keyId?, mac? }, or undefined. Some encoders send ~ as %7E. */
function readValue(value) {
  const [claim, keyId, ...mac] = value.replace(/%7e/gi, '~').split('~')
  if (!claim.startsWith(`${VERSION}.`)) return undefined
  const path = claim.slice(VERSION.length + 1)
  if (!isPath(path)) return undefined
  return keyId === undefined ? { path, claim } : { path, claim, keyId, mac: mac.join('~') }
}

function readTtl(value) {
  if (!/^[0-9]+$/.test(value) || BigInt(value) > TTL_MAX) return undefined
  return Number(value)
}

/* A whole header value (several headers joined by commas) -> { path, ttlMs, keyId, mac, others }; path
 * and ttlMs are null where there is no such member. others: the members of others, as one value.
 * Throws ContextError: our member is there and not valid, or the header is larger than 8192 bytes. */
export function parse(header) {
  const text = header ?? ''
  if (Buffer.byteLength(text) > BAGGAGE_MAX_BYTES)
    throw new ContextError('too_large', `baggage may have ${BAGGAGE_MAX_BYTES} bytes`)
  let found, ttlMs
  for (const member of text.split(',')) {
    const key = keyOf(member)
    if (key === PATH_KEY && found === undefined) {
      found = readValue(valueOf(member))
      if (found === undefined)
        throw new ContextError('malformed', 'the brakewire member of baggage is not 1.<root>.<…>.<parent>')
    } else if (key === TTL_KEY && ttlMs === undefined) {
      ttlMs = readTtl(valueOf(member))
      if (ttlMs === undefined)
        throw new ContextError('malformed', 'brakewire-ttl is not a number of milliseconds')
    }
  }
  const { path = null, keyId, mac } = found ?? {}
  return { path, ttlMs: ttlMs ?? null, keyId, mac, others: othersOf(text) }
}

/* What may be sent on: text, in Unicode, without line ends. */
const isText = (member) => !/[\x00-\x08\x0a-\x1f]/.test(member) && member.isWellFormed()
const isOurs = (member) => [PATH_KEY, TTL_KEY].includes(keyOf(member))

function membersOf(header) {
  return (header ?? '').split(',').map(trim).filter((member) => member !== '' && isText(member))
}

/* The members that are not ours, as one value. */
export function othersOf(header) {
  return membersOf(header).filter((member) => !isOurs(member)).join(',')
}

/* At more than 16 ids or 1024 bytes of member the root and the last 14 stay. */
export function cut(path) {
  const ids = path.split('.').filter((id) => id !== '')
  const bytes = `${PATH_KEY}=${VERSION}.${path}`.length
  if (ids.length <= IDS_MAX && bytes <= MEMBER_MAX_BYTES) return path
  return `${ids[0]}..${ids.slice(-IDS_KEPT_AT_END).join('.')}`
}

/* The path of a run below the one at the end of `path`. */
export function append(path, id) {
  const below = path ? `${path}.${id}` : id
  if (!ID.test(id) || !isPath(below))
    throw new ContextError('invalid', `'${id}' is no run id, or its path is longer than ${PATH_MAX_IDS}`)
  return below
}

function macOf(claim, key) {
  return createHmac('sha256', key).update(claim).digest('base64url').slice(0, MAC_CHARS)
}

/* The header value for children of the run at the end of `path`: ours first, then of `others` what is
 * not ours, as long as it fits. key: { id, secret } signs it. */
export function format({ path, ttlMs, others = '', key }) {
  if (!isPath(path)) throw new ContextError('invalid', 'not a path of run ids')
  const claim = `${VERSION}.${cut(path)}`
  let out = `${PATH_KEY}=${claim}`
  if (key !== undefined) {
    if (!KEY_ID.test(key.id)) throw new ContextError('invalid', 'a key id is 1 to 16 of A-Z a-z 0-9 _ -')
    out += `~${key.id}~${macOf(claim, key.secret)}`
  }
  if (ttlMs != null && ttlMs >= 0) out += `,${TTL_KEY}=${Math.floor(ttlMs)}`
  return withOthers(out, others)
}

/* Ours first, whole; of the others what everybody passes on: 180 members, 8192 bytes. */
function withOthers(ours, others) {
  let room = BAGGAGE_MAX_BYTES - Buffer.byteLength(ours)
  const out = ours === '' ? [] : ours.split(',')
  for (const member of membersOf(others).filter((each) => !isOurs(each))) {
    const bytes = Buffer.byteLength(member) + (out.length > 0 ? 1 : 0)
    if (bytes > room || out.length >= MEMBERS_MAX) continue
    out.push(member)
    room -= bytes
  }
  return out.join(',')
}

/* The one header of a request that has one already: our members of `ours` (a run's header for its
 * children), the foreign ones of `existing`, then those of `ours` whose name is not used. */
export function merge(ours, existing) {
  const members = membersOf(ours)
  const theirs = membersOf(existing).filter((member) => !isOurs(member))
  const names = new Set(theirs.map(keyOf))
  const rest = members.filter((member) => !isOurs(member) && !names.has(keyOf(member)))
  return withOthers(members.filter(isOurs).join(','), [...theirs, ...rest].join(','))
}

/* What is to be thought of the signature of our member: good, unsigned, unknown_key, forged, none (no
 * member of ours) or malformed. keys: { <key id>: secret, … }. */
export function verify(header, keys) {
  const member = (header ?? '').split(',').find((each) => keyOf(each) === PATH_KEY)
  if (member === undefined) return 'none'
  const read = readValue(valueOf(member))
  if (read === undefined) return 'malformed'
  if (read.keyId === undefined) return 'unsigned'
  if (!Object.hasOwn(keys, read.keyId)) return 'unknown_key'
  const wanted = Buffer.from(macOf(read.claim, keys[read.keyId]))
  const given = Buffer.from(read.mac)
  return wanted.length === given.length && timingSafeEqual(wanted, given) ? 'good' : 'forged'
}

/* ---- carriers ------------------------------------------------------------------------------ */

function entriesOf(headers) {
  if (headers == null) return []
  if (typeof headers.entries === 'function' && typeof headers.get === 'function') return [...headers.entries()]
  return Array.isArray(headers) ? headers : Object.entries(headers)
}

/* The baggage of HTTP headers: a Headers, node's req.headers, or pairs; several are joined. */
export function fromHeaders(headers) {
  const values = entriesOf(headers)
    .filter(([name]) => String(name).toLowerCase() === 'baggage')
    .flatMap(([, value]) => value ?? [])
  return values.length > 0 ? values.join(',') : undefined
}

/* `headers` as a plain object, with `baggage` merged into its own. */
export function toHeaders(baggage, headers) {
  const out = {}
  for (const [name, value] of entriesOf(headers))
    if (String(name).toLowerCase() !== 'baggage' && value !== undefined) out[name] = value
  return { ...out, baggage: merge(baggage, fromHeaders(headers)) }
}

/* An A2A message: message.extensions names the extension, message.metadata[uri].baggage is the value. */
export function fromA2A(message) {
  const value = message?.metadata?.[A2A_EXTENSION]?.baggage
  return typeof value === 'string' ? value : undefined
}

/* A copy of the message that carries the context. */
export function toA2A(baggage, message = {}) {
  const extensions = message.extensions ?? []
  const carried = { ...message.metadata?.[A2A_EXTENSION], baggage: merge(baggage, fromA2A(message)) }
  return {
    ...message,
    extensions: extensions.includes(A2A_EXTENSION) ? extensions : [...extensions, A2A_EXTENSION],
    metadata: { ...message.metadata, [A2A_EXTENSION]: carried },
  }
}

/* MCP: params._meta.baggage, reserved for W3C baggage. */
export function fromMcp(params) {
  const value = params?._meta?.baggage
  return typeof value === 'string' ? value : undefined
}

export function toMcp(baggage, params = {}) {
  return { ...params, _meta: { ...params._meta, baggage: merge(baggage, fromMcp(params)) } }
}

/* The environment of a spawned process. */
export function fromEnvironment(env = process.env) {
  return env.BAGGAGE || undefined
}

export function toEnvironment(baggage, env = process.env) {
  return { ...env, BAGGAGE: merge(baggage, env.BAGGAGE) }
}
