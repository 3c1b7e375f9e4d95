// Measures the lines of the table, all at the same time, and compares them with expected.json.
//
// node run.mjs SUITE GATEWAY [--update | --measure [--flags FLAG…]]; `run` calls it.
// For `test result`, a test is a cell: all that a line has of one kind, or the table in README. It
// passes where each of its tests ends as expected, or better.

import { fork } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

// A new line begins with the reasons of the one that it is `like`.
const LINES = [
  { name: 'safe', row: '`safe`', flags: ['--profile', 'safe'] },
  { name: 'reverse_proxy', row: '`reverse_proxy`', flags: ['--profile', 'reverse-proxy'] },
  {
    name: 'reverse_proxy_lenient',
    like: 'reverse_proxy',
    row: '`reverse_proxy`, three leniencies',
    flags: ['--profile', 'reverse-proxy', '--lenient']
  }
]

const KINDS = ['required', 'optimal', 'check']
const DEVIATIONS = ['fail', 'optional_fail', 'dependency_fail', 'setup_fail', 'harness_fail', 'retry']
const MISSING = 'reason missing'
const MARKER = '<!-- conformance -->'

const file = name => new URL(name, import.meta.url)
const EXPECTED = file('expected.json')
const README = file('../../README.md')

const [suite, gateway, mode, ...rest] = process.argv.slice(2)
const flags = rest[0] === '--flags' ? rest.slice(1) : undefined
const lines = flags ? [{ name: 'gateway', row: `\`${flags.join(' ')}\``, flags }] : LINES
const measured = await Promise.all(lines.map(measure)).catch(error => {
  console.error(`tests/conformance: ${error.message}`)
  process.exit(2)
})
const table = ['| profile | required | optimal | checks yes/no |', '|---|---|---|---|', ...measured.map(row)].join('\n')

if (mode === '--measure') {
  measured.forEach(details)
  console.log(`\n${table}`)
  process.exit(measured.every(({ complete }) => complete) ? 0 : 1)
}

const expected = JSON.parse(readFileSync(EXPECTED))
if (mode === '--update') update()

const cells = measured.flatMap(({ name }) => KINDS.map(kind => `${name}, ${kind}`))
const failed = new Set()
measured.forEach(compare)
for (const name in expected.lines) {
  if (!lines.some(line => line.name === name)) fail(name, 'has not been measured')
}
compareReadme()

console.log(`\n${table}\n`)
const passed = cells.filter(cell => !failed.has(cell))
console.log(`test result: ${failed.size ? 'FAILED' : 'ok'}. ${passed.length} passed; ${failed.size} failed;`)
process.exit(failed.size ? 1 : 0)

function measure (line) {
  return new Promise((resolve, reject) => {
    const child = fork(file('line.mjs'), [suite, gateway, ...line.flags])
    child.on('message', found => resolve({ ...line, ...found }))
    child.on('exit', () => reject(new Error(`${line.name} could not be measured`)))
  })
}

function select ({ tests }, kind, result) {
  return Object.keys(tests).filter(id => tests[id].kind === kind && (!result || tests[id].result === result))
}

function row (line) {
  const [required, optimal] = ['required', 'optimal']
    .map(kind => `${select(line, kind, 'pass').length}/${select(line, kind).length}`)
  const [yes, no] = ['yes', 'no'].map(result => select(line, 'check', result).length)
  return `| ${line.row} | ${required} | ${optimal} | ${yes}/${no} |`
}

function details (line) {
  console.log(`\n${line.name}: ${line.seconds} s${line.complete ? '' : ', INCOMPLETE'}`)
  for (const kind of KINDS) {
    const results = [...new Set(select(line, kind).map(id => line.tests[id].result))].sort()
    console.log(`${kind}: ${results.map(result => `${select(line, kind, result).length} ${result}`).join(', ')}`)
  }
  for (const [id, { kind, result, why }] of Object.entries(line.tests)) {
    if (kind !== 'check' && result !== 'pass') console.log(`  ${kind} ${id}: ${result} (${why})`)
  }
}

function fail (cell, what) {
  failed.add(cell)
  console.log(`FAILS   ${cell}: ${what}`)
}

function better (cell, what) {
  console.log(`BETTER  ${cell}: ${what} (--update takes it into expected.json)`)
}

function compare (line) {
  console.log(`${line.name}: ${line.seconds} s${line.again.length ? `; run once more: ${line.again.join(', ')}` : ''}`)
  const known = expected.lines[line.name]
  for (const kind of KINDS) {
    const cell = `${line.name}, ${kind}`
    if (!known) {
      fail(cell, 'nothing is expected of it yet (--update takes what it does)')
      continue
    }
    const { tests, yes, ...listed } = known
    const ran = select(line, kind).length
    if (!line.complete) fail(cell, 'the run is not complete')
    if (ran < tests[kind]) fail(cell, `${ran} tests have run, not ${tests[kind]}`)
    if (ran > tests[kind]) better(cell, `${ran} tests, not ${tests[kind]}`)
    for (const id of select(line, kind)) {
      const { result, why } = line.tests[id]
      const good = result === 'pass' || result === 'yes'
      const before = kind === 'check'
        ? yes.includes(id) ? 'yes' : 'no'
        : DEVIATIONS.find(deviation => listed[deviation]?.[id]) ?? 'pass'
      if (good && before !== result) better(cell, `${id}: ${result}, not ${before}`)
      if (good || (kind === 'check' && before === 'no')) continue
      if (before !== result) fail(cell, `${id}: ${result}, not ${before} (${why})`)
      else if (!expected.reasons[listed[result][id]]) fail(cell, `${id}: ${result}, and no reason why (${why})`)
    }
  }
}

function compareReadme () {
  const shown = readmeTable()
  if (shown === undefined) {
    console.log(`README has no table yet: nothing follows ${MARKER}`)
    return
  }
  cells.push('README')
  if (shown !== table) fail('README', 'its table is not the one measured')
}

function readmeTable () {
  const [, after] = readFileSync(README, 'utf8').split(MARKER)
  return after?.trim().split(/\n\s*\n/)[0]
}

// Takes what was measured into expected.json, and into README's table.
function update () {
  if (!measured.every(({ complete }) => complete)) {
    console.log('nothing is taken from a run that is not complete')
    return
  }
  expected.lines = Object.fromEntries(measured.map(line => [line.name, expectation(line)]))
  const used = new Set(Object.values(expected.lines)
    .flatMap(line => DEVIATIONS.flatMap(result => Object.values(line[result] ?? {}))))
  expected.reasons = Object.fromEntries(Object.entries(expected.reasons).filter(([id]) => used.has(id)))
  writeFileSync(EXPECTED, `${JSON.stringify(expected, null, 2)}\n`)
  const shown = readmeTable()
  if (shown) writeFileSync(README, readFileSync(README, 'utf8').replace(shown, () => table))
}

function expectation (line) {
  const known = expected.lines[line.name] ?? expected.lines[line.like] ?? {}
  const reason = id => {
    const { result, needs } = line.tests[id]
    if (known[result]?.[id]) return known[result][id]
    // What is not counted for what it depends on has the reason of that.
    const because = result === 'dependency_fail' ? needs.map(reason) : []
    return because.find(reason => reason !== MISSING) ?? MISSING
  }
  const deviations = DEVIATIONS.map(result => {
    const ids = ['required', 'optimal'].flatMap(kind => select(line, kind, result))
    return [result, Object.fromEntries(ids.map(id => [id, reason(id)]))]
  })
  return {
    tests: Object.fromEntries(KINDS.map(kind => [kind, select(line, kind).length])),
    ...Object.fromEntries(deviations.filter(([, ids]) => Object.keys(ids).length)),
    yes: select(line, 'check', 'yes')
  }
}
