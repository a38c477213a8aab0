<?php /* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memcached.php HOST PORT text|binary - what a PHP program asks of its cache, through the Memcached
 * extension. Prints a line a check; exits 1 if one failed.
 */
[, $host, $port, $protocol] = $argv;
$failed = 0;

function check(string $name, bool $good): void
{
	global $failed, $client;
	echo $good ? "ok $name\n" : "not ok $name (" . $client->getResultMessage() . ")\n";
	$failed |= !$good;
}

$client = new Memcached();
$client->setOption(Memcached::OPT_BINARY_PROTOCOL, $protocol === 'binary');
$client->setOption(Memcached::OPT_COMPRESSION, false);
$client->addServer($host, (int)$port);

check('set', $client->set('text', 'value'));
check('get', $client->get('text') === 'value');
check('get of an absent key', $client->get('absent') === false &&
	$client->getResultCode() === Memcached::RES_NOTFOUND);
check('a structure comes back', $client->set('list', [1, 'two' => 2.5, 'no' => null]) &&
	$client->get('list') === [1, 'two' => 2.5, 'no' => null]);
check('add of a present key', !$client->add('text', 'x') &&
	$client->getResultCode() === Memcached::RES_NOTSTORED || $protocol === 'binary' &&
	$client->getResultCode() === Memcached::RES_DATA_EXISTS);
check('replace', $client->replace('text', 'new') && $client->get('text') === 'new');
check('append and prepend', $client->append('text', '>') && $client->prepend('text', '<') &&
	$client->get('text') === '<new>');
check('delete', $client->delete('text') && $client->get('text') === false);
check('delete of an absent key', !$client->delete('absent') &&
	$client->getResultCode() === Memcached::RES_NOTFOUND);

$many = [];
for ($i = 0; $i < 500; $i++)
	$many["many$i"] = str_repeat("value$i", 20);
check('set of many', $client->setMulti($many));
check('multi-get', $client->getMulti(array_merge(array_keys($many), ['absent'])) === $many);
check('multi-get in order', array_keys($client->getMulti(['many7', 'none', 'many3'],
	Memcached::GET_PRESERVE_ORDER)) === ['many7', 'none', 'many3']);
check('delete of many', count(array_filter($client->deleteMulti(array_keys($many)))) === 500);

$client->set('cas', 'one');
$entry = $client->get('cas', null, Memcached::GET_EXTENDED);
check('cas', $client->cas($entry['cas'], 'cas', 'two') && $client->get('cas') === 'two');
check('cas that lost', !$client->cas($entry['cas'], 'cas', 'three') &&
	$client->getResultCode() === Memcached::RES_DATA_EXISTS);

$client->set('count', 10);
check('incr', $client->increment('count', 5) === 15);
check('decr', $client->decrement('count', 20) === 0);
check('incr of an absent key', $client->increment('absent') === false);
if ($protocol === 'binary') {
	check('incr with a first value', $client->increment('fresh', 1, 40, 100) === 40 &&
		$client->increment('fresh', 2, 40, 100) === 42);
	check('get and touch', $client->touch('count', 100));
}

$big = substr(str_repeat('0123456789abcdef', 65536), 0, 1000000);
check('a value of 1 MB', $client->set('big', $big) && $client->get('big') === $big);
check('a value that is too large', !$client->set('huge', str_repeat('x', 1 << 20)) &&
	$client->getResultCode() !== Memcached::RES_SUCCESS);
check('the connection goes on', $client->get('count') === 0);
check('a key of 250 bytes', $client->set(str_repeat('k', 250), 'long') &&
	$client->get(str_repeat('k', 250)) === 'long');
check('an odd key', $client->set('~!#$%^&*(){}', 'odd') && $client->get('~!#$%^&*(){}') === 'odd');
check('a key with a space is refused', !$client->set('a b', 'x') || $protocol === 'binary');
check('a value with line ends', $client->set('lines', "END\r\nget x\r\n") &&
	$client->get('lines') === "END\r\nget x\r\n");

$client->set('short', 'x', 1);
$client->set('kept', 'x', 100);
$client->set('absolute', 'x', time() + 100);
check('touch', $client->set('touched', 'x') && $client->touch('touched', 1));
sleep(2);
check('a TTL ends', $client->get('short') === false && $client->get('touched') === false);
check('a TTL lasts', $client->get('kept') === 'x' && $client->get('absolute') === 'x');

$client->setOption(Memcached::OPT_NOREPLY, true);
for ($i = 0; $i < 1000; $i++)
	$client->set("quiet$i", $i);
$client->setOption(Memcached::OPT_NOREPLY, false);
check('noreply', $client->get('quiet999') === 999);
check('version', preg_match('/^1\.6\./', array_values($client->getVersion())[0]) === 1);
check('stats', array_values($client->getStats())[0]['curr_items'] > 1000);
check('flush', $client->flush() && $client->get('count') === false);
exit($failed);
