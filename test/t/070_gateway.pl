# The HTTP gateway: every route, status code, header and body of its API, and malformed requests.
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
ok(sanitized(), 'AddressSanitizer watches it') unless $ENV{DURABLE_GATEWAY_PLAIN};

my $node = durable_node('gateway');
$node->safe_psql('postgres', q(
CREATE FUNCTION say_hello(name text) RETURNS text LANGUAGE sql AS $$ SELECT 'Hello ' || name || '!' $$;
CREATE FUNCTION hello(city text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_activity('say_hello', to_jsonb(city));
END $$;
CREATE FUNCTION echo(input jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT input';
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION approval() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.set_custom_status('"waiting"');
	RETURN durable.wait_for_external_event('Approval');
END $$;
CREATE TABLE switch (works boolean);
INSERT INTO switch VALUES (false);
CREATE FUNCTION flaky() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF NOT (SELECT works FROM switch) THEN
		RAISE 'out of order';
	END IF;
	RETURN 42;
END $$;
CREATE FUNCTION rewindable() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('flaky'); END $$;
CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1';
REVOKE EXECUTE ON FUNCTION secret() FROM PUBLIC;
CREATE FUNCTION broken(sqlstate text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = sqlstate, MESSAGE = 'could not extend file "base/1"'; END $$;
CREATE DOMAIN breaks AS text CHECK (broken(VALUE));
CREATE FUNCTION breaking(input breaks) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE ROLE regress_gateway LOGIN;
SELECT durable.grant_usage('regress_gateway');
GRANT SELECT ON switch TO regress_gateway;
));
my $gateway = gateway_start($node, dbname => $node->connstr('postgres') . ' user=regress_gateway');
my $base = $DurableGateway::base;
like($gateway->{ready}, qr{^durable-gateway: ready on http://127\.0\.0\.1:\d+$}, 'one line when it is ready');

# Asserts the status of a request and, unless its body is as wanted by the status, that it is JSON; returns the response.
sub gets
{
	my ($want, $method, $path, $what, $body, $headers) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $response = $gateway->call($method, $path, $body, $headers);
	is($response->{status}, $want, $what // "$method $path: $want") or diag $response->{content};
	if ($response->{status} >= 400 && $method ne 'HEAD' && $path !~ /returnInternal/)
	{
		my $error = json($response);
		ok(ref $error eq 'HASH' && length $error->{Message}, '... with a Message');
		unlike($response->{content}, qr/host=|port=|\.c:\d|CONTEXT|PL\/pgSQL/, '... that gives nothing away');
	}
	return $response;
}

sub ends
{
	my ($id, $status) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	poll_until($node, "SELECT runtime_status = '$status' FROM durable.get_status('$id')", "$id: $status");
}

# Start
my $response = gets(202, 'POST', '/orchestrators/hello/h1', 'start with an id', '{"city": "Tokyo"}');
my $links = json($response);
is($links->{id}, 'h1', 'its id');
my $url = "$gateway->{url}$base/instances/h1";
my $common = 'taskHub=durable&connection=Storage';
is_deeply($links, {
	id => 'h1',
	statusQueryGetUri => "$url?$common",
	sendEventPostUri => "$url/raiseEvent/{eventName}?$common",
	terminatePostUri => "$url/terminate?reason={text}&$common",
	rewindPostUri => "$url/rewind?reason={text}&$common",
	purgeHistoryDeleteUri => "$url?$common",
	restartPostUri => "$url/restart?$common",
	suspendPostUri => "$url/suspend?reason={text}&$common",
	resumePostUri => "$url/resume?reason={text}&$common",
}, 'management payload');
is($response->{headers}{location}, $links->{statusQueryGetUri}, 'Location');
is($response->{headers}{'retry-after'}, '10', 'Retry-After');
like($response->{headers}{'content-type'}, qr{^application/json}, 'Content-Type');
ends('h1', 'Completed');
$response = gets(202, 'POST', '/orchestrators/hello', 'start without an id', '{"city": "Rome"}');
like(json($response)->{id}, qr/^[0-9a-f]{32}$/, 'an id is made');
gets(202, 'POST', '/orchestrators/public.nothing', 'start without a body, name with schema');
gets(202, 'POST', '/orchestrators/nothing?version=2.5', 'start with a version');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.instances WHERE version = '2.5')), '1', 'it has it');
gets(202, 'POST', '/orchestrators/nothing?version=', 'start with an empty version');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.instances WHERE version = '')), '0', 'it has none');
is($node->safe_psql('postgres', q(SELECT owner FROM durable.get_status('h1'))), 'regress_gateway', 'it belongs to the gateway\'s role');
gets(400, 'POST', '/orchestrators/no_such_function', 'unknown function');
gets(400, 'POST', '/orchestrators/hello', 'bad JSON', '{"city": ');
gets(400, 'POST', '/orchestrators/hello', 'two values', '1 2');
gets(400, 'POST', '/orchestrators/hello', 'NUL in JSON', "{\"city\": \"\0\"}");
gets(400, 'POST', '/orchestrators/hello', '\u0000 in JSON', '{"city": "\u0000"}');
gets(400, 'POST', '/orchestrators/hello', 'bad UTF-8 in JSON', "{\"city\": \"\xff\"}");
gets(400, 'POST', '/orchestrators/hello', 'deep JSON', '[' x 100000);
gets(400, 'POST', '/orchestrators/hello', 'input that does not fit', '{"town": "Rome"}');
gets(400, 'POST', '/orchestrators/nothing/@x', 'bad id');
gets(400, 'POST', '/orchestrators/nothing/a%2Fb', 'id with a slash');
gets(400, 'POST', '/orchestrators/nothing/' . 'x' x 257, 'id too long');
gets(400, 'POST', '/orchestrators/nothing/%ff', 'id that is not UTF-8');
gets(400, 'POST', '/orchestrators/nothing/%00', 'NUL in an id');
gets(400, 'POST', '/orchestrators/nothing/%zz', 'bad percent-encoding');
gets(400, 'POST', '/orchestrators/nothing?timeout=soon', 'bad timeout');
gets(400, 'POST', '/orchestrators/nothing?timeout=1&pollingInterval=2', 'pollingInterval beyond timeout');
gets(403, 'POST', '/orchestrators/secret', 'no right to execute');
foreach my $case ([ '53100', 503 ], [ '58030', 500 ], [ 'XX000', 500 ])
{
	my ($sqlstate, $status) = @$case;
	unlike(gets($status, 'POST', '/orchestrators/breaking', "SQLSTATE $sqlstate", qq("$sqlstate"))->{content}, qr/extend/, '... is not told in detail');
}
gets(202, 'POST', '/orchestrators/approval/a1', 'one that waits', '');
$node->safe_psql('postgres', q(SELECT durable.set_quota('regress_gateway', live_instances => 1)));
gets(429, 'POST', '/orchestrators/approval', 'the quota of live instances is used up', '');
$node->safe_psql('postgres', q(SELECT durable.unset_quota('regress_gateway')));
gets(409, 'POST', '/orchestrators/approval/a1', 'its id is taken');
gets(202, 'POST', '/orchestrators/approval/a1?onDuplicate=ignore', 'unless the client says that it may be');
my $execution = "SELECT execution_id FROM durable.instances WHERE instance_id = 'h1'";
my $first = $node->safe_psql('postgres', $execution);
gets(409, 'POST', '/orchestrators/hello/h1?onDuplicate=error', 'an ended one is 409 where asked', '{"city": "Rome"}');
is(json(gets(202, 'POST', '/orchestrators/hello/h1?onDuplicate=Ignore', 'onDuplicate=ignore', '{"city": "Rome"}'))->{id}, 'h1',
	'... gives its links');
is(gets(200, 'POST', '/orchestrators/hello/h1?onDuplicate=ignore&timeout=20', '... waits for it', '{"city": "Rome"}')->{content},
	'"Hello Tokyo!"', '... and gives its output');
is($node->safe_psql('postgres', $execution), $first, '... and starts nothing');
gets(202, 'POST', '/orchestrators/hello/h1?onDuplicate=replace', 'an ended one is replaced', '{"city": "Tokyo"}');
isnt($node->safe_psql('postgres', $execution), $first, '... and runs anew');
ends('h1', 'Completed');
gets(400, 'POST', '/orchestrators/hello/h1?onDuplicate=perhaps', 'bad onDuplicate', '{"city": "Tokyo"}');
gets(202, 'POST', '/orchestrators/echo/n%C3%A4me%20%26%20%2B%25', 'id with odd characters', '[1.10, 12345678901234567890123, 1e400, "\ud83d\ude00"]');
$response = gets(200, 'POST', '/orchestrators/hello?timeout=20', 'timeout: the bare output', '{"city": "Oslo"}');
is($response->{content}, '"Hello Oslo!"', '... of the instance');
$response = gets(200, 'POST', '/orchestrators/nothing?timeout=20', 'timeout: no output');
is($response->{content}, 'null', '... is null');
$response = gets(200, 'POST', '/orchestrators/rewindable/r0?timeout=20', 'timeout: a failed one');
is(json($response)->{runtimeStatus}, 'Failed', '... gives its status');
my $begin = time;
$response = gets(202, 'POST', '/orchestrators/approval/a2?timeout=1.5&pollingInterval=1', 'timeout: too short');
cmp_ok(time - $begin, '>=', 1.4, '... waits as long');
cmp_ok(time - $begin, '<', 4 + seconds_bar($node), '... and no longer');
is($response->{headers}{'retry-after'}, '1', 'Retry-After is pollingInterval');
is(json($response)->{id}, 'a2', '... and links');

# Status
$response = gets(202, 'GET', '/instances/a1', 'status: it waits');
is($response->{headers}{location}, "$gateway->{url}$base/instances/a1?$common", 'Location');
is($response->{headers}{'retry-after'}, '5', 'Retry-After');
poll_until($node, q(SELECT custom_status IS NOT NULL FROM durable.get_status('a1')), 'custom status');
my $status = json(gets(202, 'GET', '/instances/a1', 'status: it waits'));
my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
like(delete $status->{createdTime}, $time, 'createdTime');
like(delete $status->{lastUpdatedTime}, $time, 'lastUpdatedTime');
is_deeply($status, { name => 'approval', instanceId => 'a1', runtimeStatus => 'Running', input => undef,
		customStatus => 'waiting', output => undef }, 'body');
$status = json(gets(200, 'GET', '/instances/h1', 'status: completed'));
is_deeply([ @$status{qw(runtimeStatus input output)} ], [ 'Completed', { city => 'Tokyo' }, 'Hello Tokyo!' ], 'input and output');
is(json(gets(200, 'GET', '/instances/h1?showInput=false'))->{input}, undef, 'showInput=false');
ok(!exists $status->{historyEvents}, 'no history unless asked');
$status = json(gets(200, 'GET', '/instances/h1?showHistory=true', 'showHistory'));
is_deeply([ map { $_->{EventType} } @{ $status->{historyEvents} } ], [qw(ExecutionStarted TaskCompleted ExecutionCompleted)],
	'scheduled rows are folded');
my ($started, $task, $completed) = @{ $status->{historyEvents} };
is($started->{FunctionName}, 'hello', 'FunctionName of the orchestrator');
is($task->{FunctionName}, 'say_hello', 'and of the task');
like($task->{$_}, $time, $_) foreach qw(ScheduledTime Timestamp);
ok(!exists $task->{Result}, 'no Result unless asked');
is($completed->{OrchestrationStatus}, 'Completed', 'OrchestrationStatus');
$status = json(gets(200, 'GET', '/instances/h1&showHistory=true&showHistoryOutput=true', 'a query without ?, as clients append it'));
is($status->{historyEvents}[1]{Result}, 'Hello Tokyo!', 'Result');
$node->safe_psql('postgres', q(SET ROLE regress_gateway;
	SELECT durable.start_new('echo', ('[' || repeat('1e131071,', 75) || '1]')::jsonb, 'wide')));
ends('wide', 'Completed');
$response = gets(400, 'GET', '/instances/wide?showHistory=true&showHistoryOutput=true', 'a history of more than 16 MB');
like(json($response)->{ExceptionMessage}, qr/^2 of its events have 19\d{6} bytes of text; .*durable\.history/, '... says how large');
$response = gets(200, 'GET', '/instances/wide?showHistory=true&showInput=false', '... but what is smaller is there');
like(substr($response->{content}, -300), qr/"historyEvents":\[.*"OrchestrationStatus":"Completed"/, '... with its events');
$node->safe_psql('postgres', q(SELECT durable.purge_instance_history('wide')));
ends("n\x{c3}\x{a4}me & +%", 'Completed');
$response = gets(200, 'GET', '/instances/n%C3%A4me%20%26%20+%25', 'odd characters');
like($response->{content}, qr/"output":\[1\.10, 12345678901234567890123, 1(e400|0{400})/i, 'numbers keep their digits');
gets(404, 'GET', '/instances/none', 'no such instance');
gets(400, 'GET', '/instances/h1?showHistory=perhaps', 'bad boolean');
$status = json(gets(200, 'GET', '/instances/r0', 'failed'));
is($status->{runtimeStatus}, 'Failed', 'Failed');
like($status->{output}, qr/out of order/, '... with its message');
$status = json(gets(500, 'GET', '/instances/r0?returnInternalServerErrorOnFailure=true&showHistory=true', '500 where asked'));
is($status->{runtimeStatus}, 'Failed', '... with the body');
my ($failed) = grep { $_->{EventType} eq 'TaskFailed' } @{ $status->{historyEvents} };
like($failed->{Reason}, qr/out of order/, 'reason of a failed task');
is($status->{historyEvents}[-1]{OrchestrationStatus}, 'Failed', 'OrchestrationStatus Failed');
is($gateway->call('HEAD', '/instances/h1')->{status}, 200, 'HEAD');

# Events, suspend, resume, terminate
gets(400, 'POST', '/instances/a1/raiseEvent/Approval', 'not application/json', '{}', { 'Content-Type' => 'text/plain' });
gets(400, 'POST', '/instances/a1/raiseEvent/Approval', 'bad JSON', '{');
gets(404, 'POST', '/instances/none/raiseEvent/Approval', 'no such instance', '{}');
is(gets(202, 'POST', '/instances/a1/suspend?reason=lunch')->{content}, '', 'no body');
ends('a1', 'Suspended');
gets(202, 'GET', '/instances/a1', 'status: suspended');
gets(202, 'POST', '/instances/a1/raiseEvent/approval', 'raise an event', '{"by": "Ada"}', { 'Content-Type' => 'Application/JSON; charset=utf-8' });
gets(202, 'POST', '/INSTANCES/a1/Resume?reason={text}', 'fixed parts of a path in any case');
ends('a1', 'Completed');
is_deeply(json(gets(200, 'GET', '/instances/a1'))->{output}, { by => 'Ada' }, 'the event arrived');
foreach my $verb (qw(terminate suspend resume raiseEvent/x))
{
	gets(410, 'POST', "/instances/a1/$verb", "$verb: ended", '{}');
	gets(404, 'POST', "/instances/none/$verb", "$verb: none", '{}');
}
gets(412, 'DELETE', '/instances/a2', 'purge: live');
gets(202, 'POST', '/instances/a2/terminate?reason=not+needed', 'terminate');
ends('a2', 'Terminated');
is(json(gets(200, 'GET', '/instances/a2'))->{output}, 'not needed', 'the reason is the output');

# Rewind, restart
gets(412, 'POST', '/instances/a1/rewind', 'rewind: not failed');
gets(404, 'POST', '/instances/none/rewind', 'rewind: none');
$node->safe_psql('postgres', 'UPDATE switch SET works = true');
gets(202, 'POST', '/instances/r0/rewind?reason=repaired', 'rewind');
ends('r0', 'Completed');
is(json(gets(200, 'GET', '/instances/r0'))->{output}, 42, 'it goes on');
$response = gets(202, 'POST', '/instances/h1/restart', 'restart');
isnt(json($response)->{id}, 'h1', 'under a new id');
gets(202, 'POST', '/instances/h1/restart?restartWithNewInstanceId=false', 'restart under the same id');
ends('h1', 'Completed');
gets(404, 'POST', '/instances/none/restart', 'restart: none');
gets(202, 'POST', '/orchestrators/approval/a3');
gets(409, 'POST', '/instances/a3/restart?restartWithNewInstanceId=false', 'restart: live');

# List
my $all = json(gets(200, 'GET', '/instances', 'list'));
is(scalar @$all, $node->safe_psql('postgres', 'SELECT count(*) FROM durable.instances'), 'all of them');
my (@pages, $token);
do
{
	$response = gets(200, 'GET', '/instances/?top=4', 'a page', undef, $token ? { 'x-ms-continuation-token' => $token } : undef);
	push @pages, map { $_->{instanceId} } @{ json($response) };
	$token = $response->{headers}{'x-ms-continuation-token'};
} while ($token);
is_deeply(\@pages, [ map { $_->{instanceId} } @$all ], 'pages give the same');
is_deeply([ map { $_->{instanceId} } @{ json(gets(200, 'GET', '/instances?runtimeStatus=running,Pending')) } ], ['a3'], 'by status');
is_deeply([ map { $_->{instanceId} } @{ json(gets(200, 'GET', '/instances?instanceIdPrefix=r')) } ], ['r0'], 'by prefix');
is_deeply(json(gets(200, 'GET', '/instances?createdTimeFrom=2999-01-01T00:00:00Z')), [], 'by time');
is_deeply(json(gets(200, 'GET', '/instances?createdTimeTo=2000-01-01T00:00:00.5%2B01:00')), [], 'by time, with fraction and zone');
is_deeply(json(gets(200, 'GET', '/instances?createdTimeTo=2000-01-01T00:00:00+01:00')), [], 'and with a bare +');
is((grep { defined $_->{input} } @{ json(gets(200, 'GET', '/instances?showInput=false')) }), 0, 'showInput=false');
gets(400, 'GET', '/instances?createdTimeFrom=yesterday', 'bad time');
gets(400, 'GET', '/instances?createdTimeFrom=2030-13-45T00:00:00Z', 'no such time');
gets(400, 'GET', '/instances?runtimeStatus=Sleeping', 'bad status');
gets(400, 'GET', '/instances?top=many', 'bad top');
gets(400, 'GET', '/instances', 'bad token', undef, { 'x-ms-continuation-token' => 'deadbeef' });
is_deeply([ map { $_->{instanceId} } @{ json(gets(200, 'GET', '/instances?instanceIdPrefix=a', 'list by prefix')) } ],
	[ sort grep { /^a/ } map { $_->{instanceId} } @$all ], 'in the order of ids');
$token = gets(200, 'GET', '/instances?top=1&instanceIdPrefix=a', 'a page by prefix')->{headers}{'x-ms-continuation-token'};
gets(200, 'GET', '/instances?top=1&instanceIdPrefix=a', 'and the next', undef, { 'x-ms-continuation-token' => $token });
gets(400, 'GET', '/instances?top=1', 'its token without the prefix', undef, { 'x-ms-continuation-token' => $token });

# Purge
is_deeply(json(gets(200, 'DELETE', '/instances/h1', 'purge')), { instancesDeleted => 1 }, 'one');
gets(404, 'DELETE', '/instances/h1', 'purge: none');
gets(400, 'DELETE', '/instances', 'purge without createdTimeFrom');
gets(400, 'DELETE', '/instances?createdTimeFrom=2000-01-01T00:00:00Z&runtimeStatus=Running', 'purge what is live');
gets(404, 'DELETE', '/instances?createdTimeFrom=2999-01-01T00:00:00Z', 'nothing to purge');
is_deeply(json(gets(200, 'DELETE', '/instances?createdTimeFrom=2000-01-01T00:00:00Z&runtimeStatus=Terminated', 'purge by status')),
	{ instancesDeleted => 1 }, 'one');
cmp_ok(json(gets(200, 'DELETE', '/instances?createdTimeFrom=2000-01-01T00:00:00Z&createdTimeTo=2999-01-01', 'purge the rest'))->{instancesDeleted},
	'>', 3, 'several');

# The URLs of a payload, from HTTP and from SQL, can be called as they stand.
$links = json(gets(202, 'POST', '/orchestrators/approval/l1'));
gets(202, 'POST', $links->{suspendPostUri}, 'suspendPostUri');
gets(202, 'POST', $links->{resumePostUri}, 'resumePostUri');
gets(202, 'POST', $links->{sendEventPostUri} =~ s/\{eventName\}/Approval/r, 'sendEventPostUri', '1');
ends('l1', 'Completed');
gets(200, 'GET', $links->{statusQueryGetUri}, 'statusQueryGetUri');
gets(202, 'POST', $links->{restartPostUri}, 'restartPostUri');
my $sql = JSON::PP::decode_json($node->safe_psql('postgres',
		"SET durable.http_base_url = '$gateway->{url}$base'; SELECT durable.create_http_management_payload('l1')"));
gets(200, 'GET', $sql->{statusQueryGetUri}, 'statusQueryGetUri from SQL');
gets(200, 'GET', "$sql->{statusQueryGetUri}&showHistory=true", 'and with a parameter appended');
gets(200, 'DELETE', $sql->{purgeHistoryDeleteUri}, 'purgeHistoryDeleteUri from SQL');

# Paths and methods
gets(404, 'GET', '/nothing', 'no such path');
gets(404, 'GET', '/instances/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p', 'a long path');
$response = gets(405, 'PUT', '/instances/a1', 'no such method');
is($response->{headers}{allow}, 'GET, DELETE', 'Allow');
gets(405, 'OPTIONS', '/orchestrators/x', 'OPTIONS');
gets(200, 'GET', '/healthz', 'healthz');
$response = gets(200, 'GET', '/metrics', 'metrics');
like($response->{content}, qr/^durable_instances\{name="approval",status="Running"\} \d+$/m, 'instances by name and status');
like($response->{content}, qr/^durable_gateway_requests_total\{route="start",code="202"\} \d+$/m, 'requests');
foreach my $metric (qw(ready_instances running_instances ready_activities waiting_seconds batches_total rollbacks_total wakeups_total
	turns_total replays_total history_reads_total activities_total queued_activities_total timers_fired_total
	timers_lateness_seconds_total timers_lateness_max_seconds))
{
	like($response->{content}, qr/^durable_$metric\{role="regress_gateway"\} [0-9.]+$/m, $metric);
}
like($response->{content}, qr/^durable_ended_total\{role="regress_gateway",status="Completed"\} [1-9]/m, 'ends by status');
like($response->{content}, qr/^durable_function_calls_total\{kind="activity",name="say_hello",role="regress_gateway"\} [1-9]/m, 'calls');
like($response->{content}, qr/^durable_function_failures_total\{kind="activity",name="flaky",role="regress_gateway"\} 1$/m, 'failures');
like($response->{content}, qr/^durable_function_seconds_total\{kind="orchestrator",name="hello",role="regress_gateway"\} 0\.\d/m, 'time');
is((grep { !/^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [0-9.e+-]+)$/ } split /\n/, $response->{content}), 0,
	'in the format of Prometheus');
my %seen;
my $last = '';
foreach my $name (map { /^(durable_(?!gateway)\w+)/ ? $1 : () } split /\n/, $response->{content})
{
	fail("the rows of $name are not together") if $name ne $last && $seen{$name}++;
	fail("$name has no HELP and TYPE") if $response->{content} !~ /^# HELP $name .*\n# TYPE $name (counter|gauge)$/m;
	$last = $name;
}

# A page that a browser on this machine shows must not get through.
gets(403, 'GET', '/instances', 'from a page of another site', undef, { 'Sec-Fetch-Site' => 'cross-site' });
foreach my $host ('evil.example', 'evil.example:80', 'localhost.evil.example', '127.0.0.1.evil.example', '')
{
	like($gateway->raw("GET $base/instances HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n"), qr{^HTTP/1\.1 403},
		"a name that was made to resolve to loopback: Host: $host");
}
foreach my $host ('localhost', 'LOCALHOST:8080', '127.0.0.1', '127.0.0.1:8080', '[::1]:8080')
{
	like($gateway->raw("GET $base/instances HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n"), qr{^HTTP/1\.1 200}, "Host: $host");
}

# Malformed requests
sub raw_gets
{
	my ($want, $what, $bytes, $silence) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $answer = $gateway->raw($bytes, $silence);
	like($answer, $want, $what);
	ok($gateway->alive, '... and it lives');
	return $answer;
}

my $host = "Host: localhost\r\n";
my $none_or_400 = qr{^(HTTP/1\.[01] 4\d\d .*)?$}s;
raw_gets($none_or_400, 'no HTTP', "hello\r\n\r\n");
raw_gets($none_or_400, 'a TLS greeting', "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . "\x00" x 200);
raw_gets($none_or_400, 'NULs', "\0" x 1000 . "\r\n\r\n");
raw_gets($none_or_400, 'NUL in the path', "GET $base/instances/a\0b HTTP/1.1\r\n$host\r\n");
raw_gets($none_or_400, 'no Host', "GET $base/instances HTTP/1.1\r\n\r\n");
raw_gets(qr{^HTTP/1\.1 4\d\d}, 'bytes beyond ASCII in the path', "GET $base/instances/\xff\xfe HTTP/1.1\r\n$host\r\n");
raw_gets(qr{^HTTP/1\.1 200 .*"status":"ok"}s, 'absolute form', "GET http://localhost/healthz HTTP/1.1\r\n${host}Connection: close\r\n\r\n");
raw_gets(qr{^HTTP/1\.1 4\d\d}, 'an odd method', "FROB $base/instances HTTP/1.1\r\n$host\r\n");
raw_gets(qr{^HTTP/1\.1 413 .*"Message"}s, 'Content-Length beyond the limit',
	"POST $base/orchestrators/echo HTTP/1.1\r\n${host}Content-Length: 99999999999\r\n\r\n");
raw_gets($none_or_400, 'a bad Content-Length', "POST $base/orchestrators/echo HTTP/1.1\r\n${host}Content-Length: -5\r\n\r\n");
raw_gets($none_or_400, 'a bad chunk', "POST $base/orchestrators/echo HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\nzz\r\n");
raw_gets(qr{^HTTP/1\.1 202}, 'a chunked body',
	"POST $base/orchestrators/echo HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n");
raw_gets(qr{^HTTP/1\.1 431 .*"Message"}s, 'long headers', "GET $base/instances HTTP/1.1\r\n${host}X: " . 'x' x 20000 . "\r\n\r\n");
raw_gets(qr{^HTTP/1\.1 (431|413)}, 'a flood of headers', "GET $base/instances HTTP/1.1\r\n$host" . join('', map { "h$_: 1\r\n" } 1 .. 20000) . "\r\n");
raw_gets(qr{^HTTP/1\.1 (414|431)}, 'a long URI', "GET $base/instances/" . 'x' x 12000 . " HTTP/1.1\r\n$host\r\n");
raw_gets(qr{^HTTP/1\.1 (414|431)}, 'a very long URI', "GET $base/instances/" . 'x' x 1000000 . " HTTP/1.1\r\n$host\r\n");
my $two = raw_gets(qr{^HTTP/1\.1 200}, 'two requests in one packet',
	"GET /healthz HTTP/1.1\r\n$host\r\nGET $base/instances/none HTTP/1.1\r\n$host\r\n");
like($two, qr{HTTP/1\.1 404}, '... both are answered');

# What a body may be.
gets(413, 'POST', '/orchestrators/echo', 'a body that is too long', '"' . 'x' x 5_000_000 . '"');
my $long = '"' . 'x' x 4_000_000 . '"';
is($gateway->call('POST', '/orchestrators/echo?timeout=30', $long)->{content}, $long, 'a long one comes back whole');
my $chunks = 6;
is($gateway->{http}->post("$gateway->{url}$base/orchestrators/echo",
		{ content => sub { $chunks-- > 0 ? 'x' x 1_000_000 : '' } })->{status}, 413, 'chunks that are too long');
is($gateway->stop, '0', 'SIGTERM: exit 0');

# Slow clients
$gateway = gateway_start($node, args => [ '--request-timeout', 1, '--idle-timeout', 1, '--max-connections', 30 ]);
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port});
$begin = time;
syswrite($socket, "GET /healthz HTTP/1.1\r\n");
for (1 .. 40)
{
	last if IO::Select->new($socket)->can_read(0.1);
	syswrite($socket, "X$_: y\r\n");
}
like(DurableGateway::answer($socket), qr{^HTTP/1\.1 408 .*"Message"}s, 'headers that trickle: 408');
cmp_ok(time - $begin, '<', 2 + seconds_bar($node), '... in time');
$socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port});
syswrite($socket, "POST $base/orchestrators/echo HTTP/1.1\r\n${host}Content-Length: 1000\r\n\r\n");
for (1 .. 40)
{
	last if IO::Select->new($socket)->can_read(0.1);
	syswrite($socket, 'x');
}
like(DurableGateway::answer($socket), qr{HTTP/1\.1 408 }, 'a body that trickles: 408');
my @many = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) } 1 .. 30;
syswrite($_, "GET /healthz HTTP/1.1\r\n$host\r\n") foreach @many;
like(DurableGateway::answer_one($_), qr{^HTTP/1\.1 200}, 'as many clients as allowed') foreach $many[0], $many[29];
$response = gets(503, 'GET', '/instances', 'one more gets 503');
is($response->{headers}{connection}, 'close', '... and the connection closes');
is($response->{headers}{'retry-after'}, 1, '... with Retry-After');
gets(200, 'GET', '/healthz', '... but for healthz');
push @many, map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) } 1 .. 200;
ok($gateway->alive, 'many more connections than allowed');
poll_health('and when idle ones are closed it serves again');

sub poll_health
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $until = time + 30;
	my $code = 0;
	while (time < $until && $code != 200)
	{
		$code = HTTP::Tiny->new(timeout => 5)->get("$gateway->{url}$base/instances")->{status};
		sleep(0.1) if $code != 200;
	}
	is($code, 200, $what);
}
@many = ();
is($gateway->stop, '0', 'exit 0');

# Keys
my $keys = "$ENV{DURABLE_TMP}/tmp/keys-$$";
append_to_file($keys, "first+key\n\n second \n");
chmod(0600, $keys);
my ($stdout, $stderr);
sub refuses
{
	my ($want, $what, @args) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	IPC::Run::run([ gateway_program(), @args ], '>', \$stdout, '2>', \$stderr, IPC::Run::timeout(30));
	my $status = $? >> 8;
	like("$status $stderr", $want, $what);
}
refuses(qr/^1 .*not a loopback address.*--key-file/, 'no key, no loopback: it refuses to start', '--listen', '0.0.0.0:0');
refuses(qr/^1 .*not a loopback address/, 'nor on IPv6', '--listen', '[::]:0');
refuses(qr/^1 .*key file .*No such file/, 'no key file', '--key-file', '/nowhere');
refuses(qr/^1 .*not a regular file/, 'no key file but a device', '--key-file', '/dev/null');
refuses(qr/^2 .*max-body must be a number/, 'bad option', '--max-body', 'big');
refuses(qr/^2 .*unrecognized option/, 'unknown option', '--frob');
refuses(qr/^1 .*address:port/, 'bad address', '--listen', 'localhost');
refuses(qr/^1 .*address:port/, 'bad port', '--listen', '127.0.0.1:http');
refuses(qr/^1 .*from 0 to 65535/, 'a port that is too high', '--listen', '127.0.0.1:65536');
refuses(qr/^0 /, '--help', '--help');
foreach my $option (qw(listen dbname key-file base-url connections max-connections max-body max-header request-timeout
	idle-timeout max-wait statement-timeout drain-timeout metrics-interval))
{
	my $variable = 'DURABLE_GATEWAY_' . uc($option =~ s/-/_/gr);
	like($stdout, qr/--$option \w+\s+\($variable\)/, "$option is in --help");
}
refuses(qr/^0 /, '--version', '--version');
like($stdout, qr/^durable-gateway \S+$/, 'and says it');
{
	local $ENV{DURABLE_GATEWAY_KEY_FILE} = $keys;
	$gateway = gateway_start($node, listen => '0.0.0.0:0', args => [ '--base-url', 'https://example.com/api/' ]);
	$gateway->{url} = "http://127.0.0.1:$gateway->{port}";
}
gets(401, 'GET', '/instances', 'no key');
gets(401, 'GET', '/instances?code=wrong', 'wrong key');
gets(401, 'GET', '/instances?code=first%2Bke', 'part of a key');
gets(401, 'GET', '/instances?code=first%2Bkeyfirst%2Bkey', 'a key twice');
gets(401, 'GET', '/instances?code=', 'empty key');
gets(401, 'GET', '/metrics', 'metrics need it');
gets(200, 'GET', '/healthz', 'healthz does not');
gets(200, 'GET', '/instances?code=first%2Bkey', 'by code');
gets(200, 'GET', '/instances', 'by header', undef, { 'x-functions-key' => 'second' });
$response = gets(202, 'POST', '/orchestrators/nothing?code=first%2Bkey&taskHub=mine');
like(json($response)->{statusQueryGetUri}, qr{^https://example\.com/api/instances/\w+\?taskHub=mine&connection=Storage&code=first%2Bkey$},
	'links begin with --base-url and have what the request had');
append_to_file($keys, "third\n");
kill('HUP', $gateway->{pid});
sleep(0.3);
gets(200, 'GET', '/instances?code=third', 'a new key after SIGHUP');
is($gateway->stop, '0', 'exit 0');
unlike(slurp_file($gateway->{errors}), qr/first|second/, 'keys are not logged');

# A socket in the file system
my $path = "$ENV{DURABLE_TMP}/gw-$$.sock";
$gateway = gateway_start($node, listen => "unix:$path");
require IO::Socket::UNIX;
$socket = IO::Socket::UNIX->new(Peer => $path);
syswrite($socket, "GET /healthz HTTP/1.1\r\n${host}Connection: close\r\n\r\n");
like(DurableGateway::answer($socket), qr{^HTTP/1\.1 200}, 'unix socket');
is($gateway->stop, '0', 'exit 0');
ok(!-e $path, 'which is removed');

is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), '0', 'the engine is well');
done_testing();
