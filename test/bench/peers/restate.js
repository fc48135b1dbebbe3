import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join, dirname } from 'node:path';
import * as restate from '@restatedev/restate-sdk';
import * as clientsSdk from '@restatedev/restate-sdk-clients';
import { cities, sayHello } from './steps.js';

// Its server keeps its own log on disk instead of using PostgreSQL. All of it listens on the loopback interface.
export const clients = 64;
export const settings = { 'default-num-partitions': 24, 'rocksdb-disable-wal-fsync': false, telemetry: false };

async function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function until(action) {
  for (let i = 0; ; i++)
    try {
      return await action();
    } catch (error) {
      if (i === 150) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
}

export async function start(scratch) {
  const [ingressPort, adminPort, nodePort, servicePort] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const home = dirname(createRequire(import.meta.url).resolve(`@restatedev/restate-server-${process.platform}-${process.arch}/package.json`));
  const server = spawn(join(home, 'bin/restate-server'), ['--no-logo', '--listen-mode', 'tcp', '--base-dir', scratch], {
    stdio: 'ignore',
    env: {
      ...process.env,
      RESTATE_DISABLE_TELEMETRY: 'true',
      RESTATE_LOG_FILTER: 'error',
      RESTATE_BIND_IP: '127.0.0.1',
      RESTATE_ADVERTISED_HOST: '127.0.0.1',
      RESTATE_BIND_PORT: String(nodePort),
      RESTATE_INGRESS__BIND_PORT: String(ingressPort),
      RESTATE_ADMIN__BIND_PORT: String(adminPort),
    },
  });
  process.on('exit', () => server.kill('SIGKILL'));
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(1));

  const service = restate.service({
    name: 'hello',
    handlers: {
      run: async (ctx) => {
        const greetings = [];
        for (const city of cities) greetings.push(await ctx.run('say_hello', () => sayHello(city)));
        return greetings;
      },
    },
  });
  await restate.serve({ services: [service], port: servicePort });
  await until(async () => {
    const answer = await fetch(`http://127.0.0.1:${adminPort}/deployments`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ uri: `http://127.0.0.1:${servicePort}` }),
    });
    if (!answer.ok) throw new Error(`restate refused the service: ${answer.status} ${await answer.text()}`);
  });
  const client = clientsSdk.connect({ url: `http://127.0.0.1:${ingressPort}` }).serviceClient({ name: 'hello' });
  await until(() => client.run());
  return {
    hello: () => client.run(),
    stop: async () => {
      server.kill('SIGKILL');
    },
  };
}
