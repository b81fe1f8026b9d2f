/* Names are graceMs here and grace_ms on the wire. */

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())

/* What a user named goes on as it is: the names of labels are theirs. */
const theirs = new Set(['labels', 'headers'])

function renamed(value, rename) {
  if (Array.isArray(value)) return value.map((item) => renamed(item, rename))
  if (value === null || typeof value !== 'object') return value
  const out = {}
  for (const [name, member] of Object.entries(value))
    if (member !== undefined) out[rename(name)] = theirs.has(name) ? member : renamed(member, rename)
  return out
}

export const toWire = (value) => renamed(value, snake)
export const fromWire = (value) => renamed(value, camel)
