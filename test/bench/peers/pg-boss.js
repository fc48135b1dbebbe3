import PgBoss from 'pg-boss';
import { sayHello, url } from './steps.js';

// A bare queue, with batches. It polls, twice a second at most.
export const settings = { pollingIntervalSeconds: 0.5, batchSize: 1000, workers: 4, max: 10 };

export async function start() {
  const { pollingIntervalSeconds, batchSize, workers, max } = settings;
  const boss = new PgBoss({ connectionString: url, max, schedule: false });
  boss.on('error', () => {});
  await boss.start();
  await boss.createQueue('say_hello');
  let left = 0;
  let resolve;
  for (let i = 0; i < workers; i++)
    await boss.work('say_hello', { pollingIntervalSeconds, batchSize }, async (jobs) => {
      for (const { data } of jobs) sayHello(data.name);
      left -= jobs.length;
      if (left === 0) resolve();
    });
  return {
    jobs: (n) =>
      new Promise((done, reject) => {
        left = n;
        resolve = done;
        boss.insert(Array.from({ length: n }, () => ({ name: 'say_hello', data: { name: 'Tokyo' } }))).catch(reject);
      }),
    stop: () => boss.stop({ graceful: false }),
  };
}
