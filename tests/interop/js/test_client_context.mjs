// The context between agents in JavaScript, against the vectors that C and Python are held to as well.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import * as context from 'brakewire/context'

import { source } from './support/stack.mjs'

const vectors = JSON.parse(readFileSync(join(source, 'tests/vectors/baggage.json'), 'utf8'))

const headerOf = (vector) => vector.headers?.join(',') ?? vector.header
const keys = Object.fromEntries(
  vectors.keys.split('\n').map((line) => line.trim().split(/ +/)).filter(([id, secret]) => secret && !id.startsWith('#')),
)
const firstKey = { id: Object.keys(keys)[0], secret: Object.values(keys)[0] }

function each(what, check) {
  test(`as the vectors of '${what}' say`, () => {
    assert.ok(vectors[what].length > 2)
    for (const vector of vectors[what]) check(vector)
  })
}

each('parse', (vector) => {
  if (vector.error !== undefined) {
    assert.throws(() => context.parse(headerOf(vector)), (thrown) => thrown.code === vector.error, vector.name)
    return
  }
  const { path, ttlMs, keyId, mac } = context.parse(headerOf(vector))
  assert.deepEqual([path, ttlMs, keyId, mac], [vector.path, vector.ttl_ms, vector.key_id, vector.mac], vector.name)
})

each('format', ({ name, path, ttl_ms: ttlMs, others, header }) =>
  assert.equal(context.format({ path, ttlMs, others }), header, name))

each('bad_paths', (path) =>
  assert.throws(() => context.format({ path }), (thrown) => thrown.code === 'invalid', path))

each('append', (vector) => {
  const path = context.append(context.parse(headerOf(vector)).path, vector.self)
  assert.equal(path, vector.path, vector.name)
  assert.equal(context.format({ path, ttlMs: vector.ttl_ms, others: headerOf(vector) }), vector.children, vector.name)
})

each('sign', ({ name, path, ttl_ms: ttlMs, others, header }) =>
  assert.equal(context.format({ path, ttlMs, others, key: firstKey }), header, name))

each('verify', (vector) => assert.equal(context.verify(headerOf(vector), keys), vector.verdict, vector.name))

each('merge', ({ name, ours, existing, header }) => assert.equal(context.merge(ours, existing), header, name))

test('names of our objects are no keys', () => {
  assert.equal(context.verify('brakewire=1.root.x~constructor~x', {}), 'unknown_key')
})

test('a path does not grow beyond 128, nor by what is no id', () => {
  assert.throws(() => context.append('root', 'a.b'), context.ContextError)
  const long = Array.from({ length: 128 }, (_, i) => `i${i}`).join('.')
  assert.throws(() => context.append(long, 'one-more'), context.ContextError)
})

test('every carrier gives back what was put into it, and leaves the rest alone', () => {
  const value = 'brakewire=1.root.x,userId=alice'
  const headers = context.toHeaders(value, new Headers({ Baggage: 'old=1', Accept: 'text/plain' }))
  assert.deepEqual(headers, { accept: 'text/plain', baggage: 'brakewire=1.root.x,old=1,userId=alice' })
  assert.equal(context.fromHeaders(headers), headers.baggage)
  assert.equal(context.fromHeaders({ Baggage: ['a=1', 'b=2'] }), 'a=1,b=2')
  assert.equal(context.fromHeaders({ accept: 'text/plain' }), undefined)

  const message = { messageId: 'm', extensions: ['https://example.com/x'], metadata: { theirs: 1 } }
  const carried = context.toA2A(value, message)
  assert.deepEqual(carried.extensions, ['https://example.com/x', context.A2A_EXTENSION])
  assert.deepEqual(carried.metadata, { theirs: 1, [context.A2A_EXTENSION]: { baggage: value } })
  assert.equal(context.fromA2A(carried), value)
  assert.equal(context.fromA2A(message), undefined)
  assert.deepEqual(context.toA2A(value, carried), carried)

  const params = context.toMcp(value, { name: 'tool', _meta: { progressToken: 7 } })
  assert.deepEqual(params, { name: 'tool', _meta: { progressToken: 7, baggage: value } })
  assert.equal(context.fromMcp(params), value)

  const env = context.toEnvironment(value, { PATH: '/bin' })
  assert.deepEqual(env, { PATH: '/bin', BAGGAGE: value })
  assert.equal(context.fromEnvironment(env), value)
})
