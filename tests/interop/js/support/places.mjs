// Where Redis may be: what holds for one of these places holds for all.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ask, bin, source, startStack, until } from './stack.mjs'

/** A port of 127.0.0.1 that nobody listens on. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** Programs in a folder of their own that do not outlive this process. */
async function family() {
  const folder = await mkdtemp(join(tmpdir(), 'bw-')), programs = []
  const kill = () => programs.forEach(({ program }) => program.kill('SIGKILL'))
  process.once('exit', kill)
  return {
    folder,
    run(command, args, environment = {}) {
      const program = spawn(command, args, { stdio: 'ignore', cwd: folder, env: { ...process.env, ...environment } })
      programs.push({ program, ended: once(program, 'exit') })
    },
    async stop() {
      process.removeListener('exit', kill)
      for (const { program, ended } of programs.reverse()) {
        program.kill('SIGTERM')
        await ended
      }
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** One line of the inline protocol, its answer as text. */
async function tell(port, line) {
  const socket = net.connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    socket.write(`${line}\r\n`)
    const [bytes] = await once(socket, 'data')
    return bytes.toString()
  } finally {
    socket.destroy()
  }
}

async function startServer(programs, program, more = [], environment = {}) {
  const port = await freePort(), folder = join(programs.folder, `redis-${port}`)
  await mkdir(folder)
  programs.run(program, ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--dir', folder, ...more], environment)
  await until(() => tell(port, 'PING').then((answer) => answer.includes('PONG'), () => false), { what: program })
  return port
}

async function startDaemons(programs, url) {
  const port = await freePort(), broker = `http://127.0.0.1:${port}`
  const agentds = [0, 1].map((number) => join(programs.folder, `agentd-${number}.sock`))
  programs.run(join(bin, 'brakewire-broker'), [`--redis-url=${url}`, `--listen=127.0.0.1:${port}`])
  for (const socket of agentds) programs.run(join(bin, 'brakewire-agentd'), [`--redis-url=${url}`, `--socket=${socket}`, '--drain=0ms'])
  for (const where of [broker, ...agentds])
    await until(() => ask(where, 'GET', '/readyz').then(({ status }) => status === 200, () => false), { what: where })
  return { broker, agentds, stop: programs.stop }
}

async function deployed(program, environment) {
  const programs = await family()
  const port = await startServer(programs, program, [], environment)
  return startDaemons(programs, `redis://127.0.0.1:${port}`)
}

async function spread() {
  const programs = await family(), slots = [[0, 5460], [5461, 10922], [10923, 16383]]
  const ports = []
  for (const [from, to] of slots) {
    const bus = await freePort()
    const port = await startServer(programs, 'redis-server', ['--cluster-enabled', 'yes', '--cluster-port', String(bus)])
    await tell(port, `CLUSTER ADDSLOTSRANGE ${from} ${to}`)
    if (ports.length > 0) await tell(ports[0], `CLUSTER MEET 127.0.0.1 ${port} ${bus}`)
    ports.push(port)
  }
  for (const port of ports)
    await until(async () => {
      const info = await tell(port, 'CLUSTER INFO')
      return info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:3') && info.includes('cluster_size:3')
    }, { what: 'a cluster' })
  return startDaemons(programs, `redis+cluster://${ports.map((port) => `127.0.0.1:${port}`).join(',')}`)
}

const valkey = join(source, '.deps/valkey/usr')
const hasOurs = await access(join(valkey, 'bin/valkey-server')).then(() => true, () => false)

/** [name, start() → { broker, agentds, stop() }]… */
export const places = [
  ['embedded', () => startStack({ agentds: 2 })],
  ['redis', () => deployed('redis-server')],
  ['valkey', () => hasOurs ? deployed(join(valkey, 'bin/valkey-server'), { LD_LIBRARY_PATH: `${valkey}/lib/x86_64-linux-gnu` }) : deployed('valkey-server')],
  ['cluster', spread],
]
