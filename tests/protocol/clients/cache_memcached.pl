#!/usr/bin/perl
# SPDX-License-Identifier: BSD-2-Clause
#
# cache_memcached.pl HOST:PORT CLASS - what a Perl program asks of its cache, through
# Cache::Memcached or Cache::Memcached::Fast. Prints a line a check; exits 1 if one failed.

use strict;
use warnings;

my ($address, $class) = @ARGV;
eval "require $class" or die $@;
my $fast = $class =~ /Fast/;
my $failed = 0;

sub check {
	my ($name, $good) = @_;
	print $good ? "ok $name\n" : "not ok $name\n";
	$failed = 1 unless $good;
}

my $client = $class->new({ servers => [$address], $fast ? (io_timeout => 10) : () });
# Neither client is to see errors of its own as misses.
$client->set('alive', 1) or die "no server at $address\n";

$client->set('text', 'value');
check('get answers what was set', $client->get('text') eq 'value');
check('get of an absent key', !defined $client->get('absent'));
$client->set('list', [ 1, { two => 2 } ]);
check('a structure comes back', $client->get('list')->[1]{two} == 2);
check('add of a present key', !$client->add('text', 'other'));
check('add of an absent key', $client->add('added', 'x'));
check('replace', $client->replace('text', 'new') && $client->get('text') eq 'new');
check('replace of an absent key', !$client->replace('absent', 'x'));
check('delete', $client->delete('text') && !defined $client->get('text'));
check('delete of an absent key', !$client->delete('absent'));

my %many = map { ("many$_" => "value$_" x 20) } 1 .. 500;
$client->set($_, $many{$_}) for keys %many;
my $got = $client->get_multi(keys %many, 'absent');
check('multi-get', keys %$got == 500 && !grep { $got->{$_} ne $many{$_} } keys %many);

$client->set('count', 10);
check('incr', $client->incr('count', 5) == 15);
check('decr', $client->decr('count', 20) == 0);
check('incr of an absent key', !$client->incr('absent'));

my $big = join '', map { chr(32 + $_ % 90) } 1 .. 1_000_000;
# Fast refuses to send so much, unless it is told to.
if ($fast) {
	$client = $class->new({ servers => [$address], io_timeout => 10, max_size => 4 << 20,
		compress_threshold => -1 });
} else {
	$client->enable_compress(0);
}
check('a value of 1 MB', $client->set('big', $big) && $client->get('big') eq $big);
check('a value that is too large', !$client->set('huge', 'x' x (1 << 20)));
check('the connection goes on', $client->get('count') == 0);
check('a key of 250 bytes', $client->set('k' x 250, 'long') && $client->get('k' x 250) eq 'long');
check('an odd key', $client->set('~!#$%^&*(){}', 'odd') && $client->get('~!#$%^&*(){}') eq 'odd');
check('an empty value', $client->set('empty', '') && $client->get('empty') eq '');
check('a value with line ends', $client->set('lines', "END\r\nget x\r\n") &&
	$client->get('lines') eq "END\r\nget x\r\n");

$client->set('short', 'x', 1);
$client->set('kept', 'x', 100);
sleep 2;
check('a TTL ends', !defined $client->get('short') && $client->get('kept') eq 'x');

if ($fast) {
	my $cas = $client->gets('kept');
	check('cas', $client->cas('kept', $cas->[0], 'y', 100) && $client->get('kept') eq 'y');
	check('cas that lost', !$client->cas('kept', $cas->[0], 'z'));
	check('append and prepend', $client->append('kept', '>') && $client->prepend('kept', '<') &&
		$client->get('kept') eq '<y>');
	check('touch', $client->touch('kept', 1));
	sleep 2;
	check('touch gave a TTL', !defined $client->get('kept'));
	$client->set("quiet$_", $_) for 1 .. 1000; # void context: noreply
	$client->nowait_push;
	check('noreply', $client->get('quiet1000') == 1000);
	check('version', $client->server_versions->{$address} =~ /^1\.6\./);
} else {
	my $stats = $client->stats([ 'misc' ]);
	check('stats', $stats->{hosts}{$address}{misc}{curr_items} > 500);
}
$client->flush_all;
check('flush_all', !defined $client->get('count'));
exit $failed;
