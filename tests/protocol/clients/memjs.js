// SPDX-License-Identifier: BSD-2-Clause
//
// memjs.js HOST:PORT [USER PASSWORD] - what a JavaScript program asks of its cache, through memjs,
// which speaks the binary protocol. Prints a line a check; exits 1 if one failed.
'use strict';

const memjs = require('memjs');

const [address, username, password] = process.argv.slice(2);
const client = memjs.Client.create(address, {
	timeout: 10, retries: 0, username, password,
	logger: { log() {} }, // says on our output what it also tells its caller
});
let failed = 0;

function check(name, good) {
	console.log(`${good ? 'ok' : 'not ok'} ${name}`);
	if (!good)
		failed = 1;
}

async function text(key) {
	const { value } = await client.get(key);
	return value === null ? null : value.toString();
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const refused = (promise) => promise.then((done) => !done, () => true);

async function run() {
	check('set', await client.set('text', 'value', {}));
	check('get', await text('text') === 'value');
	check('get of an absent key', await text('absent') === null);
	check('add of a present key', await refused(client.add('text', 'x', {})));
	check('add of an absent key', await client.add('added', 'x', {}));
	check('replace', await client.replace('text', 'new', {}) && await text('text') === 'new');
	check('replace of an absent key', await refused(client.replace('absent', 'x', {})));
	check('append', await client.append('text', '>') && await text('text') === 'new>');
	check('delete', await client.delete('text') && await text('text') === null);
	check('delete of an absent key', await refused(client.delete('absent')));

	const keys = Array.from({ length: 500 }, (_, i) => `many${i}`);
	await Promise.all(keys.map((key) => client.set(key, key.repeat(20), {})));
	const got = await Promise.all(keys.map(text));
	check('500 at once', got.every((value, i) => value === keys[i].repeat(20)));

	check('incr with a first value',
		(await client.increment('count', 5, { initial: 10, expires: 100 })).value === 10);
	check('incr', (await client.increment('count', 5, {})).value === 15);
	check('decr', (await client.decrement('count', 20, {})).value === 0);

	const big = Buffer.alloc(1000000, '0123456789');
	check('set of 1 MB', await client.set('big', big, {}));
	check('get of 1 MB', big.equals((await client.get('big')).value));
	const huge = Buffer.alloc(1 << 20);
	check('a value that is too large', await refused(client.set('huge', huge, {})));
	check('life goes on', await text('added') === 'x');
	const long = 'k'.repeat(250);
	check('a key of 250 bytes', await client.set(long, 'long', {}) &&
		await text(long) === 'long');
	check('an odd key', await client.set('~!#$%^&*(){}', 'odd', {}) &&
		await text('~!#$%^&*(){}') === 'odd');
	check('an empty value', await client.set('empty', '', {}) && await text('empty') === '');

	await client.set('short', 'x', { expires: 1 });
	await client.set('kept', 'x', { expires: 100 });
	await client.set('touched', 'x', {});
	check('touch', await client.touch('touched', 1));
	await sleep(2000);
	check('a TTL ends', await text('short') === null);
	check('a TTL of touch ends', await text('touched') === null);
	check('a TTL lasts', await text('kept') === 'x');
	const stats = await new Promise((done) => client.stats((err, host, all) => done(all)));
	check('stats', Number(stats.curr_items) >= 500);
	await new Promise((resolve) => client.flush(resolve));
	check('flush', await text('kept') === null);
}

run().catch((error) => {
	console.log(`not ok ${error.stack || error}`);
	failed = 1;
}).finally(() => {
	client.close();
	process.exitCode = failed;
});
