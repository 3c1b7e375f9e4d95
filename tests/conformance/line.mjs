// Measures one line of the table: the suite's origin, a gateway before it, the suite's client.
//
// node line.mjs SUITE GATEWAY [FLAG…], forked; sends what it has found, and ends with its parent.
// Each line is a process: the suite keeps its results, and where its cache is, in its modules.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import { devNull } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const AT_ONCE = 100 // tests; what the package's own command does
const REQUEST = 12_000 // ms; its client would wait for ever
const DEADLINE = 120_000 // ms; what has no result by then has none

// The suite tells by these how a test ended.
const RESULTS = {
  '✅': 'pass',
  '⛔️': 'fail',
  '⚠️': 'optional_fail',
  Y: 'yes',
  N: 'no',
  '🔹': 'setup_fail',
  '⚪️': 'dependency_fail',
  '⁉️': 'harness_fail',
  '↻': 'retry',
  '-': 'untested'
}

const [suite, gateway, ...flags] = process.argv.slice(2)
const modern = existsSync(path.join(suite, 'test-engine'))

process.on('disconnect', () => process.exit(1))
console.log = console.error = () => {} // both of the suite's sides tell what they do

process.send(await measure(await before(await origin())), () => process.exit())

function load (file) {
  const of = modern && !file.startsWith('tests/') ? 'test-engine' : '.'
  return import(pathToFileURL(path.join(suite, of, file)).href)
}

// The suite's origin listens on every address; here it gets a free port of this host alone.
function origin () {
  Object.assign(process.env, {
    npm_config_protocol: 'http',
    npm_config_port: '0',
    npm_config_pidfile: devNull
  })
  const { listen } = net.Server.prototype
  return new Promise((resolve, reject) => {
    net.Server.prototype.listen = function () {
      net.Server.prototype.listen = listen
      return this.listen(0, '127.0.0.1', () => resolve(this.address().port))
    }
    load('server/server.mjs').catch(reject)
  })
}

// Starts the gateway before the origin; gives its address.
function before (port) {
  const env = Object.entries(process.env).filter(([name]) => !name.startsWith('SEAWALL_'))
  const at = ['--origin', `http://127.0.0.1:${port}`, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0']
  const child = spawn(gateway, [...flags, ...at], {
    env: Object.fromEntries(env),
    stdio: ['ignore', 'pipe', 'inherit']
  })
  process.on('exit', () => child.kill('SIGKILL'))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', code => reject(new Error(`the gateway ended with ${code}`)))
    createInterface(child.stdout).on('line', line => {
      const [, base] = /^listening on (\S+)$/.exec(line) ?? []
      if (base) resolve(base)
    })
  })
}

async function measure (base) {
  const suites = (await load('tests/index.mjs')).default
  const more = path.join(suite, 'tests/surrogate-control.mjs')
  if (existsSync(more)) suites.push((await load('tests/surrogate-control.mjs')).default)
  const { runTests } = await load('client/runner.mjs')
  const { testResults, makeTest, makeCacheTest } = await load('client/test.mjs')
  const { determineTestResult } = await load(modern ? 'lib/results.mjs' : 'lib/display.mjs')

  // A run writes into its tests.
  const fresh = () => structuredClone(suites)
  const all = suites.flatMap(({ tests }) => tests).filter(test => !test.browser_only)
  // A dispatcher of this undici is what its client hooks into, and the first one loaded is everybody's.
  if (modern) installed('undici')
  const start = Date.now()
  const late = new Promise(resolve => setTimeout(resolve, DEADLINE, true))
  const run = modern
    ? runTests(fresh(), false, base, AT_ONCE)
    : runTests(fresh(), fetching(), false, base, AT_ONCE)
  let incomplete = await Promise.race([run, late])

  // What the network or the harness has ended says nothing yet: once more, with nothing beside it.
  const again = all.filter(({ id }) => accident(testResults[id]))
  for (const test of incomplete ? [] : again) {
    delete testResults[test.id]
    incomplete ||= await Promise.race([(makeTest ?? makeCacheTest)(structuredClone(test)), late])
  }

  const found = all.map(({ id, kind = 'required', depends_on: needs = [] }) => {
    const result = RESULTS[determineTestResult(suites, id, testResults)[2]]
    return [id, { kind, result, why: [testResults[id]].flat().join(': '), needs }]
  })
  return {
    seconds: Math.round((Date.now() - start) / 1000),
    complete: !incomplete,
    again: again.map(({ id }) => id),
    tests: Object.fromEntries(found)
  }
}

function installed (name) {
  return createRequire(path.join(suite, 'package.json'))(name)
}

function fetching () {
  const fetch = installed('node-fetch')
  return (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(REQUEST) })
}

function accident (result) {
  if (!Array.isArray(result)) return false
  const [name, message] = result
  return ['retry', 'fetch failed'].includes(message) || !['Setup', 'Assertion', 'TypeError'].includes(name)
}
