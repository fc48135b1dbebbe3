# The HTTP gateway and HTTP at its edges: where a request ends, which a proxy in front must see the same way; versions and methods;
# clients that read slowly or half close; keys changed, connections to the database ended, and locks, while it serves.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use DurableTest;
use lib 'test/gateway';
use DurableGateway;

plan skip_all => 'the gateway is not built' unless -x gateway_program();

my $node = durable_node('gateway_http');
$node->safe_psql('postgres', q(
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION big() RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x', 8000000)) $$;
CREATE FUNCTION approval() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.wait_for_external_event('Approval');
END $$;
CREATE ROLE regress_http LOGIN;
SELECT durable.grant_usage('regress_http');
));
my $base = $DurableGateway::base;
my @settings = (args => [ '--statement-timeout', 2, '--connections', 3 ], dbname => $node->connstr('postgres') . ' user=regress_http');
my $gateway = gateway_start($node, @settings);

sub connect_to
{
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) // die "connect: $!";
}

# The answers to bytes that end with what closes the connection or is the last request: status codes and bodies.
sub exchange
{
	my ($bytes) = @_;
	my $socket = connect_to();
	local $SIG{PIPE} = 'IGNORE';
	syswrite($socket, $bytes);
	my $answer = '';
	while (IO::Select->new($socket)->can_read(20))
	{
		sysread($socket, $answer, 65536, length $answer) or last;
	}
	return join ' ', $answer =~ m{HTTP/1\.1 (\d+) }g;
}

my $host = "Host: localhost\r\n";
my $start = "POST $base/orchestrators/nothing HTTP/1.1\r\n$host";
my $last = "GET /healthz HTTP/1.1\r\n${host}Connection: close\r\n\r\n";
my $chunked = "Transfer-Encoding: chunked\r\n";

# Where a request ends
my @framing = (
	[ '202 404 200', 'several requests at once', "${start}Content-Length: 2\r\n\r\n{}GET $base/instances/none HTTP/1.1\r\n$host\r\n$last" ],
	[ '202 200', 'chunked', "$start$chunked\r\n2\r\n{}\r\n0\r\n\r\n$last" ],
	[ '202 200', 'chunked, with extension and trailer', "$start$chunked\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nX-Y: z\r\n\r\n$last" ],
	[ '202 200', 'no body', "$start\r\n$last" ],
	[ '200 200', 'GET with a body', "GET /healthz HTTP/1.1\r\n${host}Content-Length: 2\r\n\r\n{}$last" ],
	[ '400', 'two Content-Length that differ', "${start}Content-Length: 2\r\nContent-Length: 44\r\n\r\n{}$last" ],
	[ '400', 'two Content-Length', "${start}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}$last" ],
	[ '400', 'Content-Length and chunked', "${start}Content-Length: 4\r\n$chunked\r\n0\r\n\r\n$last" ],
	[ '400', 'chunked and Content-Length', "$start${chunked}Content-Length: 4\r\n\r\n0\r\n\r\n$last" ],
	[ '400', 'blank before the colon', "${start}Content-Length : 44\r\n\r\n$last" ],
	[ '400', 'Transfer-Encoding: identity', "${start}Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}$last" ],
	[ '400', 'Transfer-Encoding: gzip, chunked', "${start}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n$last" ],
	[ '400', 'Transfer-Encoding: xchunked', "${start}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n$last" ],
	[ '400', 'Transfer-Encoding twice', "$start$chunked$chunked\r\n0\r\n\r\n$last" ],
	[ '400', 'chunked in HTTP/1.0', "POST $base/orchestrators/nothing HTTP/1.0\r\n$chunked\r\n0\r\n\r\n$last" ],
	[ '400', 'no Host', "GET /healthz HTTP/1.1\r\n\r\n$last" ],
	[ '400', 'two Hosts', "GET /healthz HTTP/1.1\r\n${host}Host: evil\r\n\r\n$last" ],
	[ '400', 'an odd header name', "GET /healthz HTTP/1.1\r\n${host}X(Y): z\r\n\r\n$last" ],
	[ '400 200', 'a blank in the URI', "GET /heal thz HTTP/1.1\r\n$host\r\n$last" ],
	map { [ $_->[1], "Content-Length: $_->[0]", "${start}Content-Length: $_->[0]\r\n\r\n{}" ] }
		[ '+2', 400 ], [ '0x2', 400 ], [ '2, 2', 400 ], [ '-2', 400 ], [ '', 400 ], [ '18446744073709551618', 413 ]);
foreach my $case (@framing)
{
	# libmicrohttpd repeats the status line of what it refuses itself
	my $codes = exchange($case->[2]) =~ s/^(400|413) \1$/$1/r;
	is($codes, $case->[0], "$case->[1]: $case->[0]");
}
foreach my $size ('-1', '0x2', 'g', '1ffffffffffffffff2')
{
	like(exchange("$start$chunked\r\n$size\r\n{}\r\n0\r\n\r\n"), qr/^4\d\d$/, "a chunk of size $size");
}

# Versions and methods
is(exchange("GET /healthz HTTP/1.0\r\n\r\n"), '200', 'HTTP/1.0');
is(exchange("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n"), '200 200', 'HTTP/1.0 kept alive');
is(exchange("GET /healthz HTTP/2.0\r\n$host\r\n"), '505', 'HTTP/2.0');
is(exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), '505', 'the preface of HTTP/2');
is(exchange("$_ HTTP/1.1\r\n$host\r\n$last"), '404 200', $_) foreach 'OPTIONS *', 'CONNECT localhost:80', 'TRACE /';
is(exchange("GET $base/instances HTTP/1.1\r\n${host}x-ms-continuation-token: \xff\xfe\r\n\r\n$last"), '400 200',
	'a continuation token that is not UTF-8 is bad, not none');
is(exchange("HEAD /healthz HTTP/1.1\r\n$host\r\n$last"), '200 200', 'HEAD has no body');
is(exchange("${start}X-HTTP-Method-Override: DELETE\r\n\r\n$last"), '202 200', 'a method is what it is');
my $response = $gateway->call('OPTIONS', '/instances', undef,
	{ Origin => 'http://evil.example', 'Access-Control-Request-Method' => 'GET' });
is("$response->{status} " . join(' ', grep { /^access-control/ } keys %{ $response->{headers} }), '403 ', 'no CORS');

# Expect: 100-continue is answered before the body comes, with 100 or with what there is against it.
my $socket = connect_to();
syswrite($socket, "${start}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
IO::Select->new($socket)->can_read(20);
sysread($socket, my $answer, 1000);
like($answer, qr{^HTTP/1\.1 100 }, 'Expect: 100');
syswrite($socket, '{}');
like(DurableGateway::answer_one($socket), qr{^HTTP/1\.1 202 }, '... then 202');
$socket = connect_to();
syswrite($socket, "${start}Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n");
like(DurableGateway::answer_one($socket), qr{^HTTP/1\.1 413 }, '... or 413 at once');

# Who half closes gets an answer, or libmicrohttpd closes when it sees that before it has one.
foreach my $path ('nothing', 'approval?timeout=60')
{
	$socket = connect_to();
	syswrite($socket, "POST $base/orchestrators/$path HTTP/1.1\r\n$host\r\n");
	shutdown($socket, 1);
	like(DurableGateway::answer_one($socket), qr{^(HTTP/1\.1 202 .*statusQueryGetUri.*)?$}s, "half closed: $path");
	ok($gateway->alive, '... and it lives');
}

# Clients that go, in the middle of a request or after half closing, do not stay until a timeout ends them.
foreach my $bytes ("GET $base/inst", "GET /nothing HTTP/1.1\r\n$host\r\n")
{
	foreach (1 .. 30)
	{
		$socket = connect_to();
		syswrite($socket, $bytes);
		shutdown($socket, 1);
		close($socket);
	}
}
my $patience = time + 10;
sleep(0.1) while time < $patience && $gateway->call('GET', '/metrics')->{content} !~ /^durable_gateway_connections [1-5]$/m;
like($gateway->call('GET', '/metrics')->{content}, qr/^durable_gateway_connections [1-5]$/m, 'clients that have gone are forgotten');

# Those who do not read a long answer hold up nobody, and one that reads slowly gets all of it.
is($gateway->call('POST', '/orchestrators/big/big')->{status}, 202, 'a long answer');
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.instances WHERE instance_id = 'big'), 'is there');
my @deaf = map { connect_to() } 1 .. 20;
syswrite($_, "GET $base/instances/big HTTP/1.1\r\n$host\r\n") foreach @deaf;
for (1 .. 50)
{
	is($gateway->call('GET', '/instances/none')->{status}, 404, 'others are served') or last;
}
$answer = '';
for (1 .. 100)
{
	IO::Select->new($deaf[0])->can_read(20) && sysread($deaf[0], $answer, 4096, length $answer) or last;
	is($gateway->call('GET', '/healthz')->{status}, 200, 'also between') if $_ % 50 == 0;
}
while (length $answer < 8000000)
{
	IO::Select->new($deaf[0])->can_read(20) && sysread($deaf[0], $answer, 1000000, length $answer) or last;
}
like($answer, qr/x{30000}",/, 'a slow reader gets it');
cmp_ok(length $answer, '>', 8000000, '... whole');
@deaf = ();
is($gateway->stop, '0', 'exit 0');

# Locks: a statement that waits too long is given up, and others are not held up by it.
my $patience = 4;
$gateway = gateway_start($node, @settings, args => [ '--statement-timeout', $patience, '--connections', 3 ]);
my $locker = $node->background_psql('postgres');
$locker->query_safe(q(BEGIN; SELECT set_config('role', 'regress_http', true); SELECT durable.start_new('nothing', instance_id => 'locked')));
$socket = connect_to();
syswrite($socket, "POST $base/orchestrators/nothing/locked HTTP/1.1\r\n$host\r\n");
is($gateway->call('POST', '/orchestrators/nothing/free')->{status}, 202, 'others start while one waits for a lock');
like(DurableGateway::answer_one($socket), qr{^HTTP/1\.1 503 .*took too long}s, 'which is given up after --statement-timeout');
my @blocked = map { connect_to() } 1 .. 6;
syswrite($_, "POST $base/orchestrators/nothing/locked HTTP/1.1\r\n$host\r\n") foreach @blocked;
poll_until($node, q(SELECT count(*) = 3 FROM pg_stat_activity WHERE application_name = 'durable-gateway' AND wait_event_type = 'Lock'),
	'all connections wait for a lock');
my $began = time;
is($gateway->call('GET', '/healthz')->{status}, 200, 'healthz does not wait');
my $metrics = $gateway->call('GET', '/metrics')->{content};
like($metrics, qr/^durable_gateway_database_busy 3$/m, 'nor do metrics');
like($metrics, qr/^durable_turns_total/m, '... with what the engine counts');
like($metrics, qr/^durable_instances/m, '... and with counts, which have a connection of their own');
cmp_ok(time - $began, '<', 0.75 * $patience, '... nor for each other');
like(DurableGateway::answer_one($_), qr{^HTTP/1\.1 503 }, 'who waits too long gets 503') foreach @blocked;
$locker->query_safe('ROLLBACK');
$locker->quit;
is($gateway->call('POST', '/orchestrators/nothing/locked')->{status}, 202, '... and works when the lock has gone');

# Connections to the database end, again and again, while clients start instances: each answer is 202 or 503.
my $pid = fork() // die;
if ($pid == 0)
{
	my $ok = 1;
	for my $number (1 .. 300)
	{
		my $code;
		do
		{
			$code = $gateway->call('POST', "/orchestrators/nothing/killed-$number?onDuplicate=ignore")->{status};
			sleep(0.01) if $code == 503;
		} while ($code == 503);
		$ok = 0 if $code != 202;
	}
	require POSIX;
	POSIX::_exit($ok ? 0 : 1);
}
my $killed = 0;
while (waitpid($pid, 1) == 0)
{
	$killed += $node->safe_psql('postgres',
		q(SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'durable-gateway'));
}
is($?, 0, 'connections that are ended: 202 or 503, and 202 in the end');
cmp_ok($killed, '>', 0, "($killed were)");
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.instances WHERE instance_id LIKE 'killed-%')), '300', 'all are there');

# A role whose idle sessions are ended
is($gateway->stop, '0', 'exit 0');
$node->safe_psql('postgres', q(ALTER ROLE regress_http SET idle_session_timeout = '50ms'));
$gateway = gateway_start($node, dbname => $node->connstr('postgres') . ' user=regress_http');
for (1 .. 20)
{
	my ($code, $until) = (503, time + 20);
	while ($code == 503 && time < $until)
	{
		$code = $gateway->call('POST', '/orchestrators/nothing')->{status};
	}
	is($code, 202, 'idle_session_timeout') if $_ == 20 || $code != 202;
	sleep(0.06);
}
is($gateway->stop, '0', 'exit 0');

# Keys are exchanged under load: the one that stays is good all the time, and a file that cannot be used changes nothing.
my $keys = "$ENV{DURABLE_TMP}/tmp/keys-http-$$";
sub keys_are
{
	open(my $out, '>', "$keys.new") or die;
	print $out map { "$_\n" } @_;
	close($out);
	chmod(0600, "$keys.new");
	rename("$keys.new", $keys) or die;
	kill('HUP', $gateway->{pid}) if $gateway->{pid};
}
keys_are('steady', 'old');
$gateway = gateway_start($node, args => [ '--key-file', $keys ]);
is($gateway->call('GET', '/instances', undef, { 'x-functions-key' => 'old' })->{status}, 200, 'the old key');
my %codes;
for my $round (1 .. 100)
{
	keys_are('steady', "new-$round") if $round < 100;
	$codes{ $gateway->call('GET', '/instances/none', undef, { 'x-functions-key' => 'steady' })->{status} }++;
}
is_deeply(\%codes, { 404 => 100 }, 'the key that stays is good all the time');
keys_are('new');
my $until = time + 20;
sleep(0.01) while time < $until && $gateway->call('GET', '/instances', undef, { 'x-functions-key' => 'new' })->{status} != 200;
is($gateway->call('GET', '/instances', undef, { 'x-functions-key' => $_->[0] })->{status}, $_->[1], "then $_->[0]: $_->[1]")
  foreach [ new => 200 ], [ steady => 401 ], [ old => 401 ];
keys_are();
$until = time + 20;
sleep(0.01) while time < $until && slurp_file($gateway->{errors}) !~ /holds no key/;
is($gateway->call('GET', '/instances', undef, { 'x-functions-key' => 'new' })->{status}, 200, 'an empty file changes nothing');
is($gateway->call('GET', '/instances')->{status}, 401, '... and opens nothing');
is($gateway->stop, '0', 'exit 0');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), '0', 'the engine is well');
done_testing();
