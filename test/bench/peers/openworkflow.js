import { OpenWorkflow } from 'openworkflow';
import { BackendPostgres } from 'openworkflow/postgres';
import { cities, sayHello } from './steps.js';

// Its result() looks once a second, which is what a client sees; for the rate the end of the function is taken, a moment
// before the worker has stored it.
export const clients = 64;
export const settings = { concurrency: 32 };

export async function start() {
  // this driver takes a socket's directory from the environment only
  const backend = await BackendPostgres.connect(`postgresql:///${process.env.PGDATABASE}`);
  const waiting = new Map();
  let last = 0;
  const ow = new OpenWorkflow({ backend });
  const workflow = ow.defineWorkflow({ name: 'hello' }, async ({ input, step }) => {
    const greetings = [];
    for (const city of cities) greetings.push(await step.run({ name: city }, async () => sayHello(city)));
    waiting.get(input.id)?.(greetings);
    waiting.delete(input.id);
    return greetings;
  });
  const worker = ow.newWorker(settings);
  await worker.start();
  return {
    hello: async () => (await workflow.run({})).result(),
    quickHello: () =>
      new Promise((resolve, reject) => {
        const id = ++last;
        waiting.set(id, resolve);
        workflow.run({ id }).catch(reject);
      }),
    stop: async () => {
      await worker.stop();
      await backend.stop();
    },
  };
}
