# The HTTP gateway among those who mean it no good: bodies and answers that cost much, while others must be served; errors that
# quote them; forged notifications.
use strict;
use warnings;
use Encode ();
use IO::Select;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use DurableTest;
use lib 'test/gateway';
use DurableGateway;

plan skip_all => 'the gateway is not built' unless -x gateway_program();

my $node = durable_node('gateway_hostile', conf => "durable.notify = 'terminal'");
$node->safe_psql('postgres', q(
CREATE FUNCTION echo(input jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT input';
CREATE FUNCTION big(size int) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x"', size / 2)) $$;
CREATE FUNCTION add_one(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n + 1';
CREATE FUNCTION busy(steps int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 0 .. steps - 1 BY 500 LOOP
		PERFORM durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('add_one', to_jsonb(i)) FROM generate_series(n, n + 499) i));
	END LOOP;
	RETURN steps;
END $$;
CREATE FUNCTION approval() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.wait_for_external_event('Approval'); END $$;
CREATE FUNCTION refuse(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'no such city', DETAIL = 'Cities are "Rome" and "Oslo".', HINT = 'Ask for one.';
END $$;
CREATE DOMAIN city AS text CHECK (refuse(VALUE));
CREATE FUNCTION visit(city city) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE ROLE regress_hostile LOGIN;
SELECT durable.grant_usage('regress_hostile');
));
my $base = $DurableGateway::base;
my $gateway = gateway_start($node, plain => 1, dbname => $node->connstr('postgres') . ' user=regress_hostile');

sub connect_to
{
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) // die "connect: $!";
}

# Runs code in a child process, which it ends with the code's value, true or false.
sub in_child
{
	my ($code) = @_;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	my $ok = eval { $code->() };
	POSIX::_exit($ok ? 0 : 1);
}

# Runs jobs at once, each in a child, while another asks for /healthz without a pause. Asserts that all jobs end well, that the
# gateway took less than so much CPU time, in s, for each of their requests, and that nobody waited for /healthz: of the time
# that went by, a tenth at most was spent waiting for answers that took longer than 250 ms. The time for which the gateway or the
# one who asks had no CPU does not count: it is that of a busy machine.
sub meanwhile
{
	my ($what, $cpu, $requests, @jobs) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($before) = $gateway->usage;
	pipe(my $reader, my $writer) or die;
	my $probe = in_child(sub {
		my $end = 0;
		local $SIG{USR1} = sub { $end = 1 };
		syswrite($writer, "ready\n");
		until ($end)
		{
			my $waited = sub { return DurableGateway::cpu_wait($gateway->{pid}) + DurableGateway::cpu_wait($$) };
			my ($no_cpu, $begin) = ($waited->(), time);
			my $status = $gateway->call('GET', '/healthz')->{status};
			my $took = time - $begin;
			$no_cpu = $waited->() - $no_cpu;
			# the two may have had none at the same time
			syswrite($writer, "$status " . ($took > $no_cpu ? $took - $no_cpu : 0) . " $took\n");
			sleep(0.005);
		}
		1;
	});
	close($writer);
	<$reader>;
	my @children = map { in_child($_) } @jobs;
	my $failed = 0;
	waitpid($_, 0), $failed += $? != 0 foreach @children;
	my ($after) = $gateway->usage;
	kill('USR1', $probe);
	my @answers = map { [ split ' ' ] } <$reader>;
	waitpid($probe, 0);
	my @times = sort { $a <=> $b } map { $_->[1] } @answers;
	my ($all, $slow, $longest) = (0, 0, 0);
	$all += $_, $slow += $_ > 0.25 ? $_ : 0 foreach @times;
	foreach (@answers) { $longest = $_->[2] if $_->[2] > $longest }
	note sprintf '%s: %.4f s of CPU a request; %d times /healthz, median %.3f s, longest %.3f s (%.3f s with waits for a CPU), %.0f %% of the time over 0.25 s',
	  $what, ($after - $before) / $requests, scalar @times, $times[ @times / 2 ], $times[-1], $longest, 100 * $slow / ($all || 1);
	is($failed, 0, "$what: each has the right answer");
	is((grep { $_->[0] ne '200' } @answers), 0, '... /healthz is 200');
	cmp_ok($slow / ($all || 1), '<', 0.1, '... at once');
	cmp_ok(($after - $before) / $requests, '<', $cpu, '... and it takes little of the only thread');
}

# Bodies of 4 MB that are many small things, deep, full of escapes, or no JSON from the beginning or at the end.
my $size = 4000000;
my %bodies = (
	'a long array' => [ 404, '[' . '1,' x ($size / 2 - 1) . '1]' ],
	'nested arrays' => [ 404, '[' . '[],' x ($size / 3 - 1) . '[]]' ],
	'many keys' => [ 404, '{' . join(',', map { qq("$_":$_) } 1 .. $size / 15) . '}' ],
	'one number' => [ 404, '1' x 100000 ],
	'escapes' => [ 404, '"' . '\\n' x ($size / 2) . '"' ],
	'\u escapes' => [ 404, '"' . '\\u00e4' x ($size / 6) . '"' ],
	'deep arrays' => [ 400, '[' x $size ],
	'deep objects' => [ 400, '{"a":' x ($size / 5) ],
	'blanks' => [ 404, ' ' x $size ],
	'a long word' => [ 400, 'x' x $size ],
	'quotes' => [ 400, '"' x $size ],
	'control characters' => [ 400, "\1" x $size ],
	'NUL at the end' => [ 400, '"' . 'x' x $size . "\"\0" ],
	'\u0000 at the end' => [ 400, '"' . 'x' x $size . '\\u0000"' ],
	'bad UTF-8' => [ 400, '"' . 'x' x $size . "\xff\"" ],
	'cut off' => [ 400, '[' . '1,' x ($size / 2) ],
);
foreach my $what (sort keys %bodies)
{
	my ($status, $body) = @{ $bodies{$what} };
	my $response = $gateway->call('POST', '/instances/none/raiseEvent/x', $body);
	is($response->{status}, $status, "$what: $status") or diag substr($response->{content}, 0, 500);
	my $error = json($response);
	ok(ref $error eq 'HASH' && length $error->{Message}, '... with a Message');
	cmp_ok(length $response->{content}, '<', 10000, '... that is short');
}
meanwhile('bodies of 4 MB', 0.03, 4 * keys %bodies, (sub {
	return !grep { $gateway->call('POST', '/instances/none/raiseEvent/x', $bodies{$_}[1])->{status} != $bodies{$_}[0] } sort keys %bodies;
}) x 4);
%bodies = ();

# Starts, some of them in batches
meanwhile('starts with 60 kB', 0.002, 400, (sub {
	my $body = '[' . '1,' x 30000 . '1]';
	return !grep { $gateway->call('POST', '/orchestrators/echo', $body)->{status} != 202 } 1 .. 100;
}) x 4);

# Requests that are little but long: URIs, parameters, headers, chunks of a byte
my $long = 16000;
my %requests = (
	'a long path' => [ 414, "GET $base/instances/" . '%41' x ($long / 4) . " HTTP/1.1\r\n" ],
	'many segments' => [ 404, 'GET ' . '/a' x ($long / 5) . " HTTP/1.1\r\n" ],
	'many ampersands' => [ 404, "GET $base/" . '&a=' x ($long / 8) . " HTTP/1.1\r\n" ],
	'many parameters' => [ 400, "GET $base/instances?" . 'a=b&' x 700 . " HTTP/1.1\r\n" ],
	'many statuses' => [ 200, "GET $base/instances?top=1&runtimeStatus=" . 'Failed,' x ($long / 16) . " HTTP/1.1\r\n" ],
	'a long code' => [ 202, "POST $base/orchestrators/echo?code=" . '%22' x ($long / 8) . " HTTP/1.1\r\n" ],
	'many headers' => [ 404, "GET $base/instances/none HTTP/1.1\r\n" . "a:\r\n" x 700 ],
	'too many headers' => [ 431, "GET $base/instances/none HTTP/1.1\r\n" . "a:\r\n" x ($long / 4) ],
	'a long header' => [ 404, "GET $base/instances/none HTTP/1.1\r\nX-Y: " . 'a=b; ' x ($long / 6) . "\r\n" ],
	'chunks of a byte' => [ 404, "POST $base/instances/none/raiseEvent/x HTTP/1.1\r\nContent-Type: application/json\r\n"
		  . "Transfer-Encoding: chunked\r\n", "1\r\n1\r\n" x 100000 . "0\r\n\r\n" ],
);
sub exchange
{
	my ($status, $head, $body) = @{ $_[0] };
	my $socket = connect_to();
	local $SIG{PIPE} = 'IGNORE';
	print $socket "${head}Host: localhost\r\nConnection: close\r\n\r\n" . ($body // '');
	$socket->flush;
	my $answer = '';
	while (IO::Select->new($socket)->can_read(30))
	{
		sysread($socket, $answer, 65536, length $answer) or last;
	}
	return ($answer =~ m{^HTTP/1\.1 (\d+)}) ? $1 : 'none';
}
is(exchange($requests{$_}), $requests{$_}[0], "$_: $requests{$_}[0]") foreach sort keys %requests;
meanwhile('long requests', 0.01, 10 * keys %requests, map {
	sub { return !grep { exchange($requests{$_}) ne $requests{$_}[0] } map { sort keys %requests } 1 .. 5 }
} 1, 2);

# Answers of many megabytes: one value, many of them, a long history
$node->safe_psql('postgres', q(SET ROLE regress_hostile;
	SELECT durable.start_new('big', '10000000', 'big');
	SELECT durable.start_new('busy', '20000', 'busy');
	SELECT count(durable.start_new('big', '1000000', 'many-' || i)) FROM generate_series(1, 40) i));
poll_until($node, q(SELECT count(*) = 42 FROM durable.instances WHERE runtime_status = 'Completed' AND name IN ('big', 'busy')),
	'long answers are there');
sub right
{
	my ($path, $length, $pattern) = @_;
	my $response = $gateway->call('GET', $path);
	return $response->{status} == 200 && length $response->{content} > $length && $response->{content} =~ $pattern;
}
my $history = json($gateway->call('GET', '/instances/busy?showHistory=true&showHistoryOutput=true'))->{historyEvents};
is(@$history, 20002, 'a long history');
is_deeply([ sort { $a <=> $b } map { $_->{Result} } @$history[ 1 .. 20000 ] ], [ 1 .. 20000 ], '... with all its results');
meanwhile('a value of 15 MB', 0.06, 16, (sub {
	!grep { !right('/instances/big', 15000000, qr/\A\{"name":"big".*x\\""?,"createdTime":"[^"]+","lastUpdatedTime":"[^"]+"\}\z/s) } 1 .. 8
}) x 2);
# a page has some of them
meanwhile('values of 1.5 MB', 0.15, 4, (sub {
	!grep { !right('/instances?instanceIdPrefix=many-', 10000000, qr/\A\[\{"name":"big".*\}\]\z/s) } 1 .. 2
}) x 2);
meanwhile('a long history', 0.02, 8, (sub {
	!grep { !right('/instances/busy?showHistory=true&showHistoryOutput=true', 2000000, qr/"OrchestrationStatus":"Completed".*\]\}\z/s) } 1 .. 4
}) x 2);
is($gateway->stop, '0', 'exit 0');

# The same once with AddressSanitizer, and clients that go in the middle
$gateway = gateway_start($node, dbname => $node->connstr('postgres') . ' user=regress_hostile');
foreach my $path ('/instances/big', '/instances?instanceIdPrefix=many-', '/instances/busy?showHistory=true&showHistoryOutput=true')
{
	my $socket = connect_to();
	syswrite($socket, "GET $base$path HTTP/1.1\r\nHost: localhost\r\n\r\n");
	sysread($socket, my $beginning, 100000);
	close($socket);
	ok(right($path, 2000000, qr/\A[\[{].*[\]}]\z/s), $path);
	my $head = $gateway->call('HEAD', $path);
	is("$head->{status} " . ($head->{content} // ''), '200 ', '... HEAD');
}
my $waiter = $gateway->call('POST', '/orchestrators/big?timeout=60', '300000');
is("$waiter->{status} " . length $waiter->{content}, '200 450002', 'a long output that was waited for');

# What errors tell
sub fails
{
	my ($want, $what, $message, $exception, $method, $path, $body) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $response = $gateway->call($method, $path, $body);
	is($response->{status}, $want, "$what: $want");
	my $error = json($response);
	like($error->{Message}, $message, '... says what');
	defined $exception ? like($error->{ExceptionMessage}, $exception, '... and why') : is($error->{ExceptionMessage}, undef, '... only');
	unlike($response->{content}, qr/CONTEXT|PL\/pgSQL|JSON data|SELECT|portal|\.c\b/, '... and not from where');
}
fails(400, 'DETAIL and HINT', qr/^no such city$/, qr/^Cities are "Rome" and "Oslo"\. Ask for one\.$/, 'POST', '/orchestrators/visit', '{"city": "Bern"}');
fails(400, 'a body cut off', qr/^invalid input syntax for type json$/, qr/^The input string ended unexpectedly\.$/, 'POST', '/orchestrators/echo', '{"a": ');
fails(400, 'two values', qr/^invalid input syntax for type json$/, qr/^Expected end of input, but found "2"\.$/, 'POST', '/orchestrators/echo', '1 2');
fails(400, 'a long word', qr/^invalid input syntax for type json$/, qr/^Token "\xc3?x{900,1000}\.\.\.$/, 'POST', '/orchestrators/echo', 'x' x 100000);
fails(400, 'many bytes a character', qr/^invalid input syntax for type json$/, qr/^Token "\x{e4}{490,500}\.\.\.$/, 'POST', '/orchestrators/echo', "\xc3\xa4" x 100000);
fails(404, 'no such instance', qr/^instance "none" does not exist$/, undef, 'POST', '/instances/none/terminate');
is($node->safe_psql('postgres', q(SELECT durable.set_quota('regress_hostile', live_instances => 1))), '', 'a quota');
is($gateway->call('POST', '/orchestrators/approval/one')->{status}, 202, 'one is live');
fails(429, 'quota', qr/quota/, qr/\.$/, 'POST', '/orchestrators/approval');
$node->safe_psql('postgres', q(SELECT durable.unset_quota('regress_hostile')));

is($gateway->stop, '0', 'exit 0');

# A notification is a hint: whatever it says, a wait ends when the instance has ended. What the gateway asks is in the log.
$node->safe_psql('postgres', q(ALTER ROLE regress_hostile SET log_statement = 'all'));
$gateway = gateway_start($node, dbname => $node->connstr('postgres') . ' user=regress_hostile');
sub looks
{
	my $log = slurp_file($node->logfile);
	return scalar(() = $log =~ /execute ended:/g);
}
sub waiting
{
	my ($id) = @_;
	my $socket = connect_to();
	syswrite($socket, "POST $base/orchestrators/approval/" . ($id =~ s/([^\w-])/sprintf '%%%02X', ord $1/ger) . "?timeout=100 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	return $socket;
}
my @odd = ('quote-"{"', "\xc3\xa4, \"");
my @ids = ('w1', 'w2', @odd);
my %sockets = map { $_ => waiting($_) } @ids;
poll_until($node, q(SELECT count(*) = 5 FROM durable.instances WHERE name = 'approval' AND runtime_status = 'Running'), 'clients wait');
my $until = time + 30;
sleep(0.05) while time < $until && (looks() == 0 || slurp_file($node->logfile) !~ /execute notify:/);
cmp_ok(looks(), '>', 0, 'it has looked for them, and listens');

my $before = looks();
my $began = time;
foreach my $text ('', '{', '[]', 'null', '"w1"', '{"instanceId": "', '{"instanceId": "w1', '{"instanceId": "w1\\', '{"instanceId": "w1\\u00',
	'{"instanceId": "w1\\u0000", "runtimeStatus": "Completed"}', '{"instanceId": "w1", "runtimeStatus": "Completed"', '{"instanceId": "w1", "runtimeStatus": "',
	'{"instanceId":"w1","runtimeStatus":"Completed"}', '{"instanceId": ["w1"], "runtimeStatus": "Completed"}', '{"runtimeStatus": "Failed", "instanceId": "w1"}',
	'[' x 7000, '{"instanceId": "' . 'x' x 7000 . '", "runtimeStatus": "Completed"}', '{"instanceId": "' . '\\' x 7000, "{\"instanceId\": \"w1\", \"runtimeStatus\": \"Completed\"}\x7f")
{
	$node->safe_psql('postgres', "SELECT pg_notify('durable', \$text\$$text\$text\$)");
}
for (1 .. 20)
{
	$node->safe_psql('postgres', qq(SELECT pg_notify('durable', format(CASE i % 3 WHEN 0 THEN
		'{"instanceId": "w%s", "name": "approval", "runtimeStatus": "Completed", "reason": "%s"}' WHEN 1 THEN
		'{"instanceId": "w%s", "name": "approval", "runtimeStatus": "Failed", "reason": null, "time": "%s"}' ELSE
		'{"instanceId":"w%s","runtimeStatus":"Terminated"}' END, i % 2 + 1, i)) FROM generate_series(1, 5000) i));
}
my $took = time - $began;
my @answered = IO::Select->new(values %sockets)->can_read(1.5);
is(@answered, 0, 'forged notifications end no wait');
my $asked = looks() - $before;
note sprintf '100,000 forged notifications in %.1f s: %d looks', $took, $asked;
cmp_ok($asked, '>', 0, '... though it looks');
cmp_ok($asked, '<', 2 * $took + 8, '... but not for each of them');
$began = time;
$node->safe_psql('postgres', q(SELECT durable.raise_event(instance_id, 'Approval', to_jsonb(instance_id)) FROM durable.instances
	WHERE name = 'approval' AND runtime_status = 'Running' AND instance_id <> 'one'));
foreach my $id (@ids)
{
	my $answer = DurableGateway::answer_one($sockets{$id});
	like($answer, qr{^HTTP/1\.1 200 }, "$id: a true notification ends it");
	is(json({ content => $answer =~ s/.*\r\n\r\n//sr }), Encode::decode('UTF-8', $id), '... with its own output');
}
cmp_ok(time - $began, '<', 8, '... and not only when all are asked for');

# A true one that comes together with the end of a look is not overlooked. The look waits for a lock, and the gateway is stopped
# while the look ends and the notification comes.
my $forged = q({"instanceId": "slow-2", "name": "approval", "runtimeStatus": "Completed"});
my @slow = map { waiting("slow-$_") } 1, 2;
poll_until($node, q(SELECT count(*) = 2 FROM durable.instances WHERE instance_id LIKE 'slow-%' AND runtime_status = 'Running'), 'two wait');
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK durable_internal.instances IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', "SELECT pg_notify('durable', '$forged')");
poll_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'durable-gateway' AND wait_event_type = 'Lock'), 'it looks');
kill('STOP', $gateway->{pid});
$locker->query_safe('ROLLBACK');
$locker->quit;
poll_until($node, q(SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'durable-gateway' AND state <> 'idle'), 'the look has ended');
$node->safe_psql('postgres', q(SELECT durable.raise_event('slow-1', 'Approval', '1')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.instances WHERE instance_id = 'slow-1'), 'so has the instance');
$began = time;
kill('CONT', $gateway->{pid});
like(DurableGateway::answer_one($slow[0]), qr{^HTTP/1\.1 200 }, 'it is told');
cmp_ok(time - $began, '<', 4, '... and not only when all are asked for');
$node->safe_psql('postgres', q(SELECT durable.raise_event('slow-2', 'Approval', '1')));
like(DurableGateway::answer_one($slow[1]), qr{^HTTP/1\.1 200 }, '... and so is the other');
is($gateway->stop, '0', 'exit 0');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), '0', 'the engine is well');

# Where the encoding of the database is not UTF8, one text that UTF8 cannot represent would keep everybody's list from being sent.
foreach my $encoding (qw(WIN1252 SQL_ASCII))
{
	my $database = lc $encoding;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	$node->safe_psql($database, q(CREATE EXTENSION durable;
		DO $$ BEGIN EXECUTE format('CREATE FUNCTION %I() RETURNS void LANGUAGE sql AS %L', 'bad' || chr(129), ''); END $$;
		CREATE FUNCTION calls() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('bad' || chr(129)); END $$;
		CREATE FUNCTION returns() RETURNS text LANGUAGE sql AS 'SELECT chr(129)';
		CREATE FUNCTION raises() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE '%', 'bad' || chr(129) USING DETAIL = chr(129); END $$;));
	foreach my $start (q(durable.start_new('bad' || chr(129))), q(durable.start_new('calls', instance_id => chr(129))), q(durable.start_new('calls', to_jsonb(chr(129)))))
	{
		my ($rc, $out, $err) = $node->psql($database, "\\set VERBOSITY sqlstate\nSELECT $start");
		like($err, qr/22021/, "$encoding: refused: $start");
	}
	$node->safe_psql($database, q(SELECT durable.start_new(name, instance_id => name) FROM unnest('{calls,returns,raises}'::text[]) name));
	is($node->safe_psql($database, q(SELECT string_agg(concat_ws(' ', id, runtime_status, failure ->> 'sqlstate'), ', ' ORDER BY id)
		FROM unnest('{calls,returns,raises}'::text[]) u (id), durable.wait_for_completion(id, '1 min'))),
		'calls Failed 22021, raises Failed P0001, returns Failed 22021', "$encoding: what code makes is refused, too");
	my $other = gateway_start($node, dbname => $node->connstr($database));
	my $list = $other->call('GET', '/instances');
	is("$list->{status} " . @{ DurableGateway::json($list) }, '200 3', "$encoding: a list");
	like($other->call('GET', '/metrics')->{content}, qr/^durable_up 1$/m, "$encoding: metrics");
	is($other->stop, '0', 'exit 0');
}
done_testing();
