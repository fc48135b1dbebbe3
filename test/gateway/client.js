// Drives the gateway with the client of the npm package durable-functions 3: node client.js package-directory gateway-URL.
// Prints TAP.
'use strict';
const path = require('path');
const [directory, origin] = process.argv.slice(2);
const { DurableClient } = require(path.join(directory, 'node_modules/durable-functions/lib/src/durableClient/DurableClient'));
const assert = require('assert');

const base = `${origin}/runtime/webhooks/durabletask`;
const query = 'taskHub=hub&connection=Storage&code=secret';
const urls = {
    taskHubName: 'hub',
    creationUrls: {
        createNewInstancePostUri: `${base}/orchestrators/{functionName}[/{instanceId}]?${query}`,
        createAndWaitOnNewInstancePostUri:
            `${base}/orchestrators/{functionName}[/{instanceId}]?timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&${query}`,
    },
    managementUrls: {
        id: 'INSTANCEID',
        statusQueryGetUri: `${base}/instances/INSTANCEID?${query}`,
        sendEventPostUri: `${base}/instances/INSTANCEID/raiseEvent/{eventName}?${query}`,
        terminatePostUri: `${base}/instances/INSTANCEID/terminate?reason={text}&${query}`,
        rewindPostUri: `${base}/instances/INSTANCEID/rewind?reason={text}&${query}`,
        purgeHistoryDeleteUri: `${base}/instances/INSTANCEID?${query}`,
        restartPostUri: `${base}/instances/INSTANCEID/restart?${query}`,
        suspendPostUri: `${base}/instances/INSTANCEID/suspend?reason={text}&${query}`,
        resumePostUri: `${base}/instances/INSTANCEID/resume?reason={text}&${query}`,
    },
    baseUrl: base,
    requiredQueryStringParameters: query,
};

let number = 0;
let failed = 0;

async function test(name, body) {
    try {
        await body();
        console.log(`ok ${++number} - ${name}`);
    } catch (error) {
        failed++;
        console.log(`not ok ${++number} - ${name}`);
        console.log(`# ${error.stack}`.replace(/\n/g, '\n# '));
    }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(client, id, status) {
    for (const begin = Date.now(); Date.now() - begin < 30000; await sleep(50)) {
        const current = await client.getStatus(id);
        if (current.runtimeStatus === status) return current;
    }
    throw new Error(`${id} does not become ${status}`);
}

async function drive(kind, client) {
    const id = `${kind}-1`;
    await test(`${kind}: startNew with id and input`, async () =>
        assert.strictEqual(await client.startNew('hello', { instanceId: id, input: { city: 'Tokyo' } }), id));
    await test(`${kind}: startNew without id`, async () => assert.match(await client.startNew('nothing'), /^[0-9a-f]{32}$/));
    await test(`${kind}: startNew with a version`, async () => assert.ok(await client.startNew('nothing', { version: '1.0' })));
    await test(`${kind}: startNew of an unknown function is rejected`, () => assert.rejects(client.startNew('nobody'), /400/));
    await test(`${kind}: getStatus`, async () => {
        const status = await until(client, id, 'Completed');
        assert.strictEqual(status.output, 'Hello Tokyo!');
        assert.deepStrictEqual(status.input, { city: 'Tokyo' });
        assert.ok(status.createdTime instanceof Date && !isNaN(status.createdTime));
        assert.ok(status.lastUpdatedTime instanceof Date && !isNaN(status.lastUpdatedTime));
    });
    await test(`${kind}: getStatus with history`, async () => {
        const status = await client.getStatus(id, { showHistory: true, showHistoryOutput: true, showInput: false });
        // With rpcBaseUrl the package does not send showInput=false.
        if (kind === 'urls') assert.strictEqual(status.input, null);
        // The package looks for "history", but Durable Functions sends "historyEvents".
        const body = await (await fetch(`${base}/instances/${id}?showHistory=true&showHistoryOutput=true`)).json();
        const events = body.historyEvents;
        assert.deepStrictEqual(events.map((event) => event.EventType), ['ExecutionStarted', 'TaskCompleted', 'ExecutionCompleted']);
        assert.strictEqual(events[1].Result, 'Hello Tokyo!');
    });
    await test(`${kind}: getStatus of nobody is rejected`, () => assert.rejects(client.getStatus('nobody'), /404/));
    await test(`${kind}: getStatusAll`, async () => {
        const all = await client.getStatusAll();
        assert.ok(all.some((status) => status.instanceId === id));
    });
    await test(`${kind}: getStatusAll over several pages`, async () => {
        await Promise.all(Array.from({ length: 120 }, (_, i) => client.startNew('nothing', { instanceId: `${kind}-many-${i}` })));
        const all = await client.getStatusAll();
        assert.strictEqual(all.filter((status) => status.instanceId.startsWith(`${kind}-many-`)).length, 120);
    });
    await test(`${kind}: raiseEvent`, async () => {
        await client.startNew('approval', { instanceId: `${kind}-2` });
        await client.raiseEvent(`${kind}-2`, 'Approval', { by: 'Ada' });
        assert.deepStrictEqual((await until(client, `${kind}-2`, 'Completed')).output, { by: 'Ada' });
    });
    await test(`${kind}: raiseEvent without data`, async () => {
        await client.startNew('approval', { instanceId: `${kind}-3` });
        await client.raiseEvent(`${kind}-3`, 'Approval');
        await until(client, `${kind}-3`, 'Completed');
    });
    await test(`${kind}: raiseEvent to one that has ended`, () => client.raiseEvent(`${kind}-2`, 'Approval', 1));
    await test(`${kind}: raiseEvent to nobody is rejected`, () => assert.rejects(client.raiseEvent('nobody', 'x', 1), /No instance/));
    await test(`${kind}: suspend, resume`, async () => {
        await client.startNew('approval', { instanceId: `${kind}-4` });
        await client.suspend(`${kind}-4`, 'for lunch');
        await until(client, `${kind}-4`, 'Suspended');
        await client.resume(`${kind}-4`, 'well fed');
        await until(client, `${kind}-4`, 'Running');
    });
    await test(`${kind}: getStatusBy`, async () => {
        const found = await client.getStatusBy({ createdTimeFrom: new Date(Date.now() - 3600000),
            createdTimeTo: new Date(Date.now() + 3600000), runtimeStatus: ['Running', 'Pending'] });
        assert.ok(found.some((status) => status.instanceId === `${kind}-4`));
        assert.ok(found.every((status) => ['Running', 'Pending'].includes(status.runtimeStatus)));
    });
    await test(`${kind}: terminate`, async () => {
        await client.terminate(`${kind}-4`, 'not needed');
        assert.strictEqual((await until(client, `${kind}-4`, 'Terminated')).output, 'not needed');
    });
    await test(`${kind}: terminate one that has ended`, () => client.terminate(`${kind}-4`, 'again'));
    await test(`${kind}: terminate nobody is rejected`, () => assert.rejects(client.terminate('nobody', 'x'), /No instance/));
    await test(`${kind}: rewind`, async () => {
        await client.startNew('fails_once', { instanceId: `${kind}-5`, input: { flag: kind } });
        await until(client, `${kind}-5`, 'Failed');
        await client.raiseEvent(await client.startNew('repair', { input: { flag: kind } }), 'go', 1);
        for (;;) {
            await client.rewind(`${kind}-5`, 'repaired').catch(() => {});
            await sleep(200);
            const { runtimeStatus } = await client.getStatus(`${kind}-5`);
            if (runtimeStatus === 'Completed') break;
        }
    });
    await test(`${kind}: waitForCompletionOrCreateCheckStatusResponse, in time`, async () => {
        const waiting = await client.startNew('hello', { input: { city: 'Oslo' } });
        const response = await client.waitForCompletionOrCreateCheckStatusResponse({ url: `${origin}/api` }, waiting,
            { timeoutInMilliseconds: 20000, retryIntervalInMilliseconds: 100 });
        assert.strictEqual(response.status, 200);
        assert.strictEqual(await response.json(), 'Hello Oslo!');
    });
    await test(`${kind}: waitForCompletionOrCreateCheckStatusResponse, too late`, async () => {
        const waiting = await client.startNew('approval');
        const response = await client.waitForCompletionOrCreateCheckStatusResponse({ url: `${origin}/api` }, waiting,
            { timeoutInMilliseconds: 300, retryIntervalInMilliseconds: 100 });
        assert.strictEqual(response.status, 202);
        const links = await response.json();
        assert.ok(links.statusQueryGetUri.includes(waiting));
        assert.ok([200, 202].includes((await fetch(links.statusQueryGetUri)).status));
        await client.terminate(waiting, 'done');
    });
    await test(`${kind}: purgeInstanceHistory`, async () => {
        assert.strictEqual((await client.purgeInstanceHistory(id)).instancesDeleted, 1);
        assert.strictEqual((await client.purgeInstanceHistory(id)).instancesDeleted, 0);
    });
    await test(`${kind}: purgeInstanceHistoryBy`, async () => {
        const purged = await client.purgeInstanceHistoryBy({ createdTimeFrom: new Date(Date.now() - 3600000),
            createdTimeTo: new Date(), runtimeStatus: ['Completed', 'Terminated'] });
        assert.ok(purged.instancesDeleted > 100, `${purged.instancesDeleted}`);
        assert.strictEqual((await client.purgeInstanceHistoryBy({ createdTimeFrom: new Date(Date.now() + 3600000) })).instancesDeleted, 0);
    });
}

(async () => {
    await drive('urls', new DurableClient(urls));
    await drive('rpc', new DurableClient({ ...urls, rpcBaseUrl: `${base}/` }));
    console.log(`1..${number}`);
    process.exit(failed ? 1 : 0);
})();
