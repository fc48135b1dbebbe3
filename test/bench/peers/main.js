// Measures one peer: `node main.js <peer> <runs> <hellos> <seconds>`, the database from PGHOST and its kin. Prints JSON: of
// each run the rate of so many hellos, `clients` of them at once, and the latencies of one client in ms, sorted, as many as
// fit into the seconds.
//
// A peer exports `settings` (for the record), `clients`, and `start(scratch)`, which resolves to { hello, stop }: hello runs
// the three steps once and resolves when their end is known; quickHello, if there is one, does so for the rate. A bare queue
// has `jobs(n)` instead, which adds n jobs at once and resolves when the last has run: three of them count for a hello. Node
// runs its code on one core, as it does for its users.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Restate's SDK wants it; Node has it from version 22 on.
Promise.withResolvers ??= function () {
  const result = {};
  result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }));
  return result;
};

const [peerName, runs, hellos, seconds] = process.argv.slice(2).map((a, i) => (i === 0 ? a : Number(a)));
const greetings = JSON.stringify(['Hello Tokyo!', 'Hello Seattle!', 'Hello London!']);
const log = console.log;
console.log = console.info = console.debug = () => {};

const peer = await import(`./${peerName}.js`);
const scratch = mkdtempSync(join(tmpdir(), 'peer-'));
const { jobs, hello = () => jobs(1), quickHello = hello, stop } = await peer.start(scratch);

async function check(hello) {
  const result = JSON.stringify(await hello());
  if (jobs) return;
  if (result !== greetings) throw new Error(`hello returned ${result}`);
}

// So many hellos, clients of them at once: how many per second.
async function rate(count, clients) {
  const begin = performance.now();
  if (jobs) {
    await jobs(3 * count);
    return (3000 * count) / (performance.now() - begin);
  }
  let left = count;
  async function client() {
    while (left-- > 0) await check(quickHello);
  }
  await Promise.all(Array.from({ length: Math.min(clients, count) }, client));
  return (1000 * count) / (performance.now() - begin);
}

async function latencies() {
  const result = [];
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end) {
    const begin = performance.now();
    await check(hello);
    result.push(performance.now() - begin);
  }
  return result.sort((a, b) => a - b);
}

const out = { settings: peer.settings, clients: peer.clients, queue: !!jobs, rates: [], latencies: [] };
await rate(Math.min(200, hellos), peer.clients);
for (let run = 0; run < runs; run++) {
  out.rates.push(await rate(hellos, peer.clients));
  out.latencies.push(await latencies());
}
log(JSON.stringify(out));
// Some peers take minutes to stop; nothing of them is needed any more.
const timer = setTimeout(() => process.exit(0), 3000);
await stop().catch(() => {});
clearTimeout(timer);
rmSync(scratch, { recursive: true, force: true });
process.exit(0);
