# The HTTP gateway in bad company: a database that goes away, many clients that wait, odd requests, SIGTERM.
# DURABLE_TEST_SLOW: 1,000 clients wait with each setting and build of the gateway, and there are more odd requests.
use strict;
use warnings;
use IO::Select;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use DurableTest;
use lib 'test/gateway';
use DurableGateway;

plan skip_all => 'the gateway is not built' unless -x gateway_program();

my $slow = $ENV{DURABLE_TEST_SLOW};
my $node = durable_node('gateway_faults');
$node->safe_psql('postgres', q(
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE TABLE runs (id text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note() RETURNS void LANGUAGE sql AS 'INSERT INTO runs VALUES (durable.instance_id())';
CREATE FUNCTION noted() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('note');
	RETURN durable.instance_id();
END $$;
CREATE FUNCTION approval() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.wait_for_external_event('Approval');
END $$;
));
my $base = $DurableGateway::base;
my $host = "Host: localhost\r\n";

sub connect_to
{
	my ($gateway) = @_;
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) // die "connect: $!";
}

# Reads a whole answer of each socket, until all have one or the time is up: status codes and bodies by number of the socket.
sub answers
{
	my ($sockets, $seconds) = @_;
	my %number = map { $sockets->[$_] => $_ } 0 .. $#$sockets;
	my @answers = ('') x @$sockets;
	my $select = IO::Select->new(@$sockets);
	my $until = time + $seconds;
	while ($select->count && time < $until)
	{
		foreach my $socket ($select->can_read(0.2))
		{
			my $answer = \$answers[ $number{$socket} ];
			my $read = sysread($socket, $$answer, 65536, length $$answer);
			$select->remove($socket)
			  if !$read || ($$answer =~ /^Content-Length: (\d+).*?\r\n\r\n(.*)/msi && length $2 >= $1);
		}
	}
	return @answers;
}

sub codes
{
	my %codes;
	$codes{ /^HTTP\/1\.1 (\d+)/ ? $1 : 'none' }++ foreach @_;
	return \%codes;
}

# Many wait at once, with a handful of connections; plain: without AddressSanitizer, for the figures.
sub many_wait
{
	my ($clients, $notify, $plain, $channel) = @_;
	$channel //= 'shared';
	$node->safe_psql('postgres', "ALTER SYSTEM SET durable.notify = '$notify'");
	$node->safe_psql('postgres', "ALTER SYSTEM SET durable.notify_channel = '$channel'");
	$node->reload;
	my $gateway = gateway_start($node, plain => $plain, args => [ '--connections', 4 ]);
	my ($cpu, $memory) = $gateway->usage;
	my $name = "$notify-$channel" . ($plain ? '-plain' : '');
	my @sockets = map { connect_to($gateway) } 1 .. $clients;
	my $number = 0;
	my $begin = time;
	foreach my $socket (@sockets)
	{
		$number++;
		syswrite($socket, "POST $base/orchestrators/approval/$name-$number?timeout=120 HTTP/1.1\r\n$host\r\n");
	}
	poll_until($node, "SELECT count(*) = $clients FROM durable.instances WHERE instance_id LIKE '$name-%' AND runtime_status = 'Running'",
		"durable.notify = $notify: $clients clients start and wait");
	is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'durable-gateway')), '5',
		'with five connections');
	is($gateway->call('GET', '/healthz')->{status}, 200, 'others are served meanwhile');
	like($gateway->call('GET', '/metrics')->{content}, qr/^durable_gateway_waiting $clients$/m, 'all are counted');
	my ($busy, $full) = $gateway->usage;
	note sprintf 'durable.notify = %s: %d clients wait after %.1f s; %.2f s of CPU, %.1f MB of memory more, %.0f kB a client', $notify, $clients,
	  time - $begin, $busy - $cpu, ($full - $memory) / 1024, ($full - $memory) / $clients;
	if ($plain)
	{
		cmp_ok(($full - $memory) / $clients, '<', 100, 'each costs less than 100 kB');
		# how much it takes is what is asked, so this is no wait for anything
		sleep(10);
		my ($after) = $gateway->usage;
		note sprintf '%.3f s of CPU in 10 s of waiting', $after - $busy;
		cmp_ok($after - $busy, '<', 1, '... and a tenth of a core all together, while nothing happens');
	}
	$begin = time;
	$node->safe_psql('postgres', "SELECT count(durable.raise_event(instance_id, 'Approval', to_jsonb(instance_id)))
		FROM durable.instances WHERE instance_id LIKE '$name-%'");
	my @answers = answers(\@sockets, 60);
	note sprintf '%d answers in %.1f s, %.2f s of CPU', scalar @answers, time - $begin, ($gateway->usage)[0] - $busy;
	is_deeply(codes(@answers), { 200 => $clients }, 'each gets 200');
	# it would look for them after ten seconds only
	cmp_ok(time - $begin, '<', 8, 'told by notifications') if $notify ne 'none' && $clients < 100;
	is((grep { $answers[ $_ - 1 ] !~ /\r\n\r\n"$name-$_"$/ } 1 .. $clients), 0, 'and its own output');

	# who hangs up is forgotten
	my $left = connect_to($gateway);
	syswrite($left, "POST $base/orchestrators/approval/left-$name?timeout=100 HTTP/1.1\r\n$host\r\n");
	poll_until($node, "SELECT count(*) = 1 FROM durable.instances WHERE instance_id = 'left-$name'", 'one more waits');
	close($left);
	my $until = time + 20;
	sleep(0.05) while time < $until && $gateway->call('GET', '/metrics')->{content} !~ /^durable_gateway_waiting 0$/m;
	like($gateway->call('GET', '/metrics')->{content}, qr/^durable_gateway_waiting 0$/m, 'and is forgotten when it hangs up');
	is($gateway->stop, '0', 'exit 0');
}
many_wait(20, 'none');
many_wait(20, 'terminal', 0, 'owner');
many_wait(1000, 'terminal');
if ($slow)
{
	many_wait(1000, $_, 1) foreach qw(none terminal);
}

# The database goes away under load: eight clients start instances, each id once and again until it is accepted. Every other
# client says that its start may be a repeated one. The parent hears of each answer, and acts when it has heard enough.
my $gateway = gateway_start($node);
pipe(my $reader, my $writer) or die;
$writer->autoflush;
my @clients;
foreach my $client (1 .. 8)
{
	my $pid = fork() // die;
	if ($pid == 0)
	{
		my ($end, $number, $name) = (0, 0, $client % 2 ? "plain-$client" : "careful-$client");
		local $SIG{USR1} = sub { $end = 1 };
		while (!$end)
		{
			my $id = "$name-" . ++$number;
			my $code;
			do
			{
				$code = $gateway->call('POST', "/orchestrators/noted/$id" . ($client % 2 ? '' : '?onDuplicate=ignore'))->{status};
				print $writer "$id $code\n";
				sleep(0.05) if $code == 503;
			} while ($code == 503);
		}
		require POSIX;
		POSIX::_exit(0);
	}
	push @clients, $pid;
}
close($writer);
my (%codes, %accepted, %retried);

# Listens until the clients have had this many more answers with this code; 0: to the end.
sub hear
{
	my ($wanted, $want) = @_;
	my $enough = ($codes{$wanted} // 0) + $want;
	while (defined(my $line = <$reader>))
	{
		my ($id, $code) = $line =~ /^(\S+) (\d+)$/ or die $line;
		# 409: an earlier try, which was answered with 503, had taken effect
		$code = 'unasked 409' if $code eq '409' && (!$retried{$id} || $id =~ /^careful/);
		$codes{$code}++;
		$accepted{$id} = 1 if $code ne '503';
		$retried{$id} = 1 if $code eq '503';
		last if $want && ($codes{$wanted} // 0) >= $enough;
	}
}
local $SIG{ALRM} = sub { die 'the clients are stuck: ' . join(', ', %codes) };
alarm(300);
hear(202, 200);
$node->stop('immediate');
is($gateway->call('GET', '/healthz')->{status}, 503, 'no database: healthz says 503');
my $response = $gateway->call('GET', '/instances/x');
is($response->{status}, 503, 'so does a request');
is($response->{headers}{'retry-after'}, 1, 'with Retry-After');
like($response->{content}, qr/^\{"Message":"[^"]+"\}$/, 'and a Message that gives nothing away');
like($gateway->call('GET', '/metrics')->{content}, qr/^durable_gateway_database_up 0$/m, 'metrics are served');
hear(503, 40);
pass('starts are refused meanwhile');
$node->start;
hear(202, 200);
pass('and accepted when it is back');
$node->restart;
hear(202, 200);
kill('USR1', @clients);
hear(0, 0);
alarm(0);
waitpid($_, 0) foreach @clients;
note join ', ', map { "$_: $codes{$_}" } sort keys %codes;
is_deeply([ grep { $_ !~ /^(202|409|503)$/ } keys %codes ], [], 'nothing but 202, 503 and, on a repeated try, 409');
poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE name = 'noted' AND runtime_status <> 'Completed'), 'all complete');
my %there = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', q(SELECT instance_id FROM durable.instances WHERE name = 'noted'));
is((grep { !$there{$_} } keys %accepted), 0, 'none that was accepted is lost');
# A client that repeats a start whose connection broke replaces an instance that has already ended, unless it says otherwise.
my @twice = split /\n/, $node->safe_psql('postgres', q(SELECT id FROM runs GROUP BY id HAVING count(*) > 1));
note scalar(@twice), ' ran twice, ', scalar(keys %retried), ' were asked for again';
is((grep { !$retried{$_} } @twice), 0, 'none ran twice unless its client asked again');
is((grep { /^careful/ } @twice), 0, 'and none at all with onDuplicate=ignore');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.instances i WHERE name = 'noted'
	AND NOT EXISTS (SELECT FROM runs r WHERE r.id = i.instance_id))), '0', 'and each ran');

# One that waits lives through a restart of the database
my $waiting = connect_to($gateway);
syswrite($waiting, "POST $base/orchestrators/approval/patient?timeout=100 HTTP/1.1\r\n$host\r\n");
poll_until($node, q(SELECT count(*) = 1 FROM durable.instances WHERE instance_id = 'patient'), 'one waits');
$node->restart;
$node->safe_psql('postgres', q(SELECT durable.raise_event('patient', 'Approval', '"yes"')));
my ($answer) = answers([$waiting], 40);
like($answer, qr{^HTTP/1\.1 200 .*"yes"$}s, 'the wait outlives a restart of the database');


# Odd requests
srand($ENV{DURABLE_TEST_SEED} // 20);
my @methods = (qw(GET POST PUT DELETE PATCH HEAD OPTIONS TRACE CONNECT get G), "G\0T", "\xff", '');
my @words = ('runtime', 'webhooks', 'durabletask', 'instances', 'orchestrators', 'approval', 'raiseEvent', 'terminate', 'restart', '..', '.',
	'%2e%2e', '%', '%0', '%00', '%ff%fe', '%c0%80', "\x80\xff", "'; DROP TABLE runs; --", '"', '{', '%7B%22', '@', '*', '', 'a' x 300, "%F0%9F%98%80", '~', 'healthz');
my @parameters = ('timeout=0', 'timeout=-1', 'timeout=1e9', 'timeout=nan', 'timeout=0x10', 'top=-1', 'top=99999999999999999999', 'showInput=%00',
	'runtimeStatus=,,,', 'runtimeStatus={}', 'createdTimeFrom=2030-01-01', 'createdTimeFrom=%00', 'createdTimeTo=0000-00-00T00:00:00Z', '&&&', '=', 'a', '%', 'code=x',
	'reason=%ed%a0%80', 'version=' . 'v' x 3000, 'instanceIdPrefix=%25_%5c');
my @headers = ("Content-Type: application/json\r\n", "Content-Type: application/jsonx\r\n", "Expect: 100-continue\r\n", "Expect: 200\r\n",
	"Connection: upgrade\r\nUpgrade: h2c\r\n", "Host: ${\('h' x 400)}\r\n", "Host: a b\r\n", "Host: <script>\r\n", "x-ms-continuation-token: \xff\r\n", "x-ms-continuation-token: 00\r\n",
	"X-Y:\r\n folded\r\n", ": empty\r\n", "no colon\r\n", "Cookie: a=b; c\r\n", "Transfer-Encoding: gzip\r\n", "Content-Length: 3\r\nContent-Length: 4\r\n", "Range: bytes=0-\r\n", "\0: \0\r\n");
my @bodies = ('', '{', '[' x 5000, '{"a":' x 5000, '"\ud800"', '"\u0000"', "\"\xc3\"", 'nul', 'null null', '1e999999', '-', '[1,]', "'a'", '{"a":1,"a":2}', "\xef\xbb\xbf{}", 'NaN', '9' x 2000, '"' . 'x' x 70000 . '"', "\0" x 100);
sub one_of { return $_[ int(rand(@_)) ] }
my ($count, $silent, %seen) = ($slow ? 5000 : 400, 0);
for (1 .. $count)
{
	my $path = join '/', rand() < 0.7 ? ('', qw(runtime webhooks durabletask), one_of('instances', 'orchestrators')) : '', map { one_of(@words) } 1 .. rand(5);
	$path .= '?' . join '&', map { one_of(@parameters) } 1 .. rand(4) if rand() < 0.6;
	my $body = one_of(@bodies);
	my $request = one_of(@methods) . " $path " . (rand() < 0.95 ? 'HTTP/1.1' : one_of('HTTP/1.0', 'HTTP/9.9', 'HTTP', '')) . "\r\n"
	  . (rand() < 0.9 ? $host : '') . (rand() < 0.9 ? "Connection: close\r\n" : '') . join('', map { one_of(@headers) } 1 .. rand(4));
	if (rand() < 0.6)
	{
		$request .= rand() < 0.7 ? 'Content-Length: ' . length($body) . "\r\n\r\n$body"
		  : "Transfer-Encoding: chunked\r\n\r\n" . sprintf('%x', length $body) . "\r\n$body\r\n" . (rand() < 0.5 ? "0\r\n\r\n" : '');
	}
	else
	{
		$request .= "\r\n";
	}
	substr($request, rand(length $request), 1) = chr(rand(256)) if rand() < 0.2;
	substr($request, rand(length $request)) = '' if rand() < 0.1;
	my $socket = connect_to($gateway);
	syswrite($socket, $request);
	my $reply = DurableGateway::answer($socket, 0.2);
	my ($code) = $reply =~ m{^HTTP/1\.[01] (\d+)};
	$seen{ $code // 'closed' }++;
	if (defined $code && $code >= 500 && $code != 505 && $code != 501)
	{
		fail("odd request $_: $code") or diag substr($request, 0, 300) . "\n$reply";
	}
	if (!$gateway->alive)
	{
		fail("odd request $_ ended the gateway") or diag substr($request, 0, 500);
		last;
	}
}
note 'odd requests: ' . join ', ', map { "$_: $seen{$_}" } sort keys %seen;
ok($gateway->alive, "it lives after $count odd requests");
is($gateway->call('GET', '/healthz')->{status}, 200, '... and serves');
is($node->safe_psql('postgres', 'SELECT count(*) > 0 FROM runs'), 't', '... from the same tables');

# SIGTERM: who waits is told where to ask, what runs is finished, nobody is cut off
my @sockets = map { connect_to($gateway) } 1 .. 20;
my $number = 0;
syswrite($_, "POST $base/orchestrators/approval/drain-" . ++$number . "?timeout=100 HTTP/1.1\r\n$host\r\n") foreach @sockets;
my $idle = connect_to($gateway);
poll_until($node, q(SELECT count(*) = 20 FROM durable.instances WHERE instance_id LIKE 'drain-%'), 'clients wait');
my $begin = time;
is($gateway->stop, '0', 'SIGTERM: exit 0');
cmp_ok(time - $begin, '<', 2.5 * seconds_bar($node), '... soon');
my @answers = answers(\@sockets, 10);
is_deeply(codes(@answers), { 202 => 20 }, 'each waiting client gets 202');
is((grep { !/^Location: /mi || !/^Connection: close/mi } @answers), 0, '... with Location, and the connection closes');

# A database that is not there at the start
$node->stop;
$gateway = gateway_start($node);
like($gateway->{ready}, qr/not available yet/, 'no database at the start: it says so and serves');
is($gateway->call('GET', '/healthz')->{status}, 503, '... 503');
$node->start;
my $until = time + 20;
sleep(0.1) while time < $until && $gateway->call('GET', '/healthz')->{status} != 200;
is($gateway->call('GET', '/healthz')->{status}, 200, '... and 200 when it comes');
$node->safe_psql('postgres', 'DROP EXTENSION durable CASCADE');
is($gateway->call('GET', '/healthz')->{status}, 503, 'no extension: healthz says 503');
is($gateway->call('GET', '/instances/x')->{status}, 503, '... and so do requests');
is($gateway->stop, '0', 'exit 0');
done_testing();
