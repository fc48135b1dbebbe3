import { DBOS } from '@dbos-inc/dbos-sdk';
import { cities, sayHello, url } from './steps.js';

// Workflows started directly, which is faster than by a queue, and results awaited in the process that runs them.
export const clients = 64;
export const settings = { systemDatabasePoolSize: 20, tracingEnabled: false, logLevel: 'error' };

const workflow = DBOS.registerWorkflow(
  async () => {
    const greetings = [];
    for (const city of cities) greetings.push(await DBOS.runStep(async () => sayHello(city), { name: 'sayHello' }));
    return greetings;
  },
  { name: 'hello' },
);

export async function start() {
  DBOS.setConfig({ name: 'bench', systemDatabaseUrl: url, ...settings });
  await DBOS.launch();
  return { hello: () => workflow(), stop: () => DBOS.shutdown() };
}
