import { EventEmitter } from 'node:events';
import { makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';
import { sayHello, url } from './steps.js';

// A bare queue, with its batching of fetches and completions.
const worker = { concurrentJobs: 24, localQueue: { size: 500, refetchDelay: { durationMs: 10 } }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
export const settings = { ...worker, maxPoolSize: 24 };

export async function start() {
  const pgPool = new pg.Pool({ connectionString: url, max: settings.maxPoolSize });
  pgPool.on('error', () => {});
  pgPool.on('connect', (client) => client.on('error', () => {}));
  let left = 0;
  let resolve;
  const utils = await makeWorkerUtils({ pgPool });
  await utils.migrate();
  const runner = await run({
    preset: { worker },
    pgPool,
    events: new EventEmitter(),
    noHandleSignals: true,
    taskList: {
      say_hello: async ({ name }) => {
        sayHello(name);
        if (--left === 0) resolve();
      },
    },
  });
  return {
    jobs: (n) =>
      new Promise((done, reject) => {
        left = n;
        resolve = done;
        utils.addJobs(Array.from({ length: n }, () => ({ identifier: 'say_hello', payload: { name: 'Tokyo' } }))).catch(reject);
      }),
    stop: () => runner.stop(),
  };
}
