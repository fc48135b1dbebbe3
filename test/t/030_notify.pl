# Lifecycle events: what a client that listens gets, and that one that does not read cannot stop the engine.
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('notify', conf => "durable.notify = all\nlog_min_messages = warning");
$node->safe_psql('postgres', q(
CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42';
CREATE FUNCTION wait() RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RETURN durable.wait_for_external_event(''go''); END';
CREATE FUNCTION fail(message text) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''%'', message; END';
));

# A session that listens; psql shows what has come after each statement.
my ($session, $input, $output, $statements) = (undef, '', '', 0);

sub start_listener
{
	$output = '';
	$session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$input, '>', \$output,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	listener_does('LISTEN durable');
}

sub listener_does
{
	my ($statement) = @_;
	$statements++;
	$input .= "$statement;\n\\echo done $statements\n";
	$session->pump until $output =~ /done $statements\n/;
}

start_listener();

# Asserts that the listener gets these events, and no others, of an instance: [status, reason].
sub expect_events
{
	my ($id, $what, @expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @events;
	my $event = qr/[^\n]*notification "durable" with payload "(\{[^\n]*"instanceId": "\Q$id\E"[^\n]*\})" received[^\n]*\n/;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		listener_does('SELECT 1');
		@events = $output =~ /$event/g;
		last if @events >= @expected;
		select(undef, undef, undef, 0.1);
	}
	$output =~ s/$event//g;
	# The server itself reads them.
	my $list = join(',', map { "\$json\$$_\$json\$" } @events);
	is( $node->safe_psql('postgres', qq(
			SELECT string_agg(event->>'runtimeStatus' || coalesce(': ' || (event->>'reason'), ''), E'\\n' ORDER BY n)
			  FROM unnest(ARRAY[$list]::jsonb[]) WITH ORDINALITY e (event, n)
			 WHERE event->>'name' <> '' AND (event->>'time')::timestamptz > now() - interval '10 min')),
		join("\n", @expected), $what);
	return @events;
}

# Runs a statement and waits for the instance to have a status.
sub bring
{
	my ($statement, $id, $status) = @_;
	$node->safe_psql('postgres', $statement);
	$node->poll_query_until('postgres', "SELECT runtime_status = '$status' FROM durable.instances WHERE instance_id = '$id'");
}

bring(q(SELECT durable.start_new('answer', instance_id => 'a')), 'a', 'Completed');
expect_events('a', 'an instance that completes', 'Pending', 'Running', 'Completed');

bring(q(SELECT durable.start_new('wait', instance_id => 'b')), 'b', 'Running');
bring(q(SELECT durable.suspend('b', 'a pause')), 'b', 'Suspended');
bring(q(SELECT durable.resume('b', 'end of it')), 'b', 'Running');
bring(q(SELECT durable.terminate('b', 'no "more" needed\\')), 'b', 'Terminated');
expect_events('b', 'one that is suspended, resumed and terminated',
	'Pending', 'Running', 'Suspended: a pause', 'Running: end of it', 'Terminated: no "more" needed\\');

bring(q(SELECT durable.start_new('fail', '"out of €"', 'c')), 'c', 'Failed');
expect_events('c', 'one that fails', 'Pending', 'Running', 'Failed: out of €');
bring(q(SELECT durable.rewind('c', 'try again'), pg_sleep(0.2)), 'c', 'Failed');
expect_events('c', 'and is rewound', 'Running: try again', 'Failed: out of €');

bring(q(SELECT durable.start_new('wait', instance_id => 'd')), 'd', 'Running');
bring(q(SELECT durable.start_new('answer', instance_id => 'd', dedupe_statuses => '{}')), 'd', 'Completed');
expect_events('d', 'one that is replaced while it is live',
	'Pending', 'Running', 'Terminated: replaced by another', 'Pending', 'Running', 'Completed');

$node->safe_psql('postgres', q(BEGIN; SELECT durable.start_new('answer', instance_id => 'rolled-back'); ROLLBACK));
bring(q(SELECT durable.start_new('fail', to_jsonb(repeat(E'\x01€', 20000)), 'long')), 'long', 'Failed');
my $long = (expect_events('long', 'no event of a rollback; a long reason is cut',
	'Pending', 'Running',
	$node->safe_psql('postgres', q(SELECT 'Failed: ' || repeat(E'\x01€', 499) || E'\x01')) ))[2];
cmp_ok(length($long), '<', 8000, 'to what fits');

# terminal and none
$node->append_conf('postgresql.conf', 'durable.notify = terminal');
$node->reload;
$node->poll_query_until('postgres', q(SELECT current_setting('durable.notify') = 'terminal'));
poll_until($node, q(SELECT count(*) > 3 FROM (SELECT durable.start_new('answer', instance_id => 't-' || n) FROM generate_series(1, 4) n) s), 'started more');
expect_events("t-$_", "durable.notify = terminal: t-$_", 'Completed') foreach 1 .. 4;
$node->append_conf('postgresql.conf', 'durable.notify = none');
$session->kill_kill;
$node->restart;
start_listener();
bring(q(SELECT durable.start_new('answer', instance_id => 'n')), 'n', 'Completed');
expect_events('n', 'durable.notify = none');

# A listener that sits in a transaction keeps the queue from being emptied. The limit is some 80 kB here.
$node->append_conf('postgresql.conf', "durable.notify = all\ndurable.notify_queue_limit = 0.00001");
$node->restart;
$session->kill_kill;
start_listener();
listener_does('BEGIN; SELECT 1');
$node->safe_psql('postgres', q(SELECT count(durable.start_new('answer')) FROM generate_series(1, 100)));
$node->safe_psql('postgres', q(SELECT count(durable.start_new('answer')) FROM generate_series(1, 2000)));
poll_until($node, q(SELECT count(*) = 2100 FROM durable.instances WHERE runtime_status = 'Completed' AND instance_id ~ '^[0-9a-f]{32}$'),
	'the engine goes on past a listener that does not read');
cmp_ok($node->safe_psql('postgres', 'SELECT pg_notification_queue_usage()'), '<=', 0.00002, 'the queue does not fill');
cmp_ok($node->safe_psql('postgres', 'SELECT pg_notification_queue_usage()'), '>', 0, 'though nobody empties it');
my $warnings = () = slurp_file($node->logfile) =~ /durable dropped \d+ lifecycle event/g;
cmp_ok($warnings, '>', 0, 'the log tells');
cmp_ok($warnings, '<', 20, 'but not each time');
listener_does('COMMIT');
bring(q(SELECT durable.start_new('answer', instance_id => 'after')), 'after', 'Completed');
expect_events('after', 'when it has read, events go out again', 'Pending', 'Running', 'Completed');
$input .= "\\q\n";
$session->finish;

done_testing();
