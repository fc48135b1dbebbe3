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

# durable.notify_channel = owner: who hears what, of two roles, a member of one, and one who listens to everything that has a name.
$node->safe_psql('postgres', q(
CREATE ROLE alice LOGIN;
CREATE ROLE alices LOGIN IN ROLE alice;
CREATE ROLE mallory LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
SELECT durable.grant_usage(r) FROM unnest('{alice,alices,mallory,watcher}'::regrole[]) r;
));
my %channel_of = map { $_ => $node->safe_psql('postgres', 'SELECT durable.notify_channel()', extra_params => [ '-U', $_ ]) } qw(alice mallory);
is_deeply([ values %channel_of ], [ 'durable', 'durable' ], 'one channel for all, unless it is set otherwise');
$node->append_conf('postgresql.conf', "durable.notify_channel = owner\ndurable.notify_queue_limit = 0.5");
$node->restart;

sub as
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", extra_params => [ '-U', $role ], on_error_stop => 0);
	return join("\n", grep { length } $out, $err =~ s/^psql:.*?: //mgr =~ s/\n$//r);
}
%channel_of = map { $_ => as($_, 'SELECT durable.notify_channel()') } qw(alice mallory postgres);
like($_, qr/^durable_[0-9a-f]{32}$/, 'a channel of its own') foreach values %channel_of;
isnt($channel_of{alice}, $channel_of{mallory}, 'which is not that of another');
is(as('alices', q(SELECT durable.notify_channel('alice'))), $channel_of{alice}, 'a member is told');
is(as('watcher', q(SELECT durable.notify_channel('alice'))), $channel_of{alice}, 'and so is pg_monitor');
is(as('mallory', $_), 'ERROR:  42501', "nobody else: $_")
  foreach q(SELECT durable.notify_channel('alice')), q(SELECT durable.notify_channel('postgres')), 'TABLE durable_internal.notify_secret',
  'SELECT durable.renew_notify_channels()', 'DELETE FROM durable_internal.notify_secret';
is(as('mallory', q(SELECT durable.notify_channel('4294967'::oid::regrole))), 'ERROR:  42704', 'a role that does not exist');
is(as('alice', q(SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	SELECT durable.notify_channel() FROM pg_proc WHERE prosrc <> '' HAVING count(*) > 0)), $channel_of{alice}, 'in a query that has parallel workers elsewhere');

# Who starts an instance by a function of its owner sends the event, and may trace what the session does.
$node->safe_psql('postgres', q(
CREATE FUNCTION start_as_alice() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$ SELECT durable.start_new('answer') $$;
ALTER FUNCTION start_as_alice() OWNER TO alice;
));
my (undef, undef, $trace) = $node->psql('postgres', 'SET trace_notify = on; SET client_min_messages = debug1; SELECT start_as_alice(); NOTIFY mine',
	extra_params => [ '-U', 'mallory' ]);
like($trace, qr/Async_Notify\(mine\)/, 'a session that traces what it sends');
unlike($trace, qr/durable_/, 'is not shown the channel of another');
poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL), 'nothing is left of it that would be heard');

my %ears;

# A session of a role that listens to what the query returns, and to channel durable.
sub open_ear
{
	my ($role, $channels) = @_;
	my %ear = (in => '', out => '', n => 0);
	$ear{session} = IPC::Run::start([ 'psql', '-XAtq', '-U', $role, '-d', $node->connstr('postgres') ], '<', \$ear{in}, '>', \$ear{out},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$ears{$role} = \%ear;
	ear_does($role, "LISTEN durable;\nSELECT format('LISTEN %I', channel) FROM ($channels) c (channel) \\gexec\n");
}

sub ear_does
{
	my ($role, $statement) = @_;
	my $ear = $ears{$role};
	my $number = ++$ear->{n};
	$ear->{in} .= "$statement\n\\echo done $number\n";
	$ear->{session}->pump until $ear->{out} =~ /done $number\n/;
}

# Whose instances a role has heard of, up to now: all that is in the queue before the barrier.
my $barriers = 0;
sub heard
{
	my ($role) = @_;
	my $barrier = 'barrier ' . ++$barriers;
	$node->safe_psql('postgres', "NOTIFY durable, '$barrier'");
	ear_does($role, 'SELECT 1;') until $ears{$role}{out} =~ /$barrier"/;
	my %ids = map { $_ => 1 } $ears{$role}{out} =~ /"instanceId": "([^"]+)"/g;
	$ears{$role}{out} = '';
	return join(' ', sort keys %ids);
}

open_ear('alices', q(SELECT durable.notify_channel('alice')));
open_ear('mallory', q(SELECT unnest(ARRAY[durable.notify_channel(), 'durable_' || 'alice'::regrole::oid, 'alice', 'durable_'])));
open_ear('watcher', q(SELECT durable.notify_channel(r) FROM unnest('{alice,mallory}'::regrole[]) r));
foreach my $role (qw(alice mallory))
{
	as($role, "SELECT durable.start_new('answer', instance_id => '$role-1')");
	$node->poll_query_until('postgres', "SELECT runtime_status = 'Completed' FROM durable.instances WHERE instance_id = '$role-1'");
}
is(heard('alices'), 'alice-1', 'a member hears of the instances of its role');
is(heard('mallory'), 'mallory-1', 'another role of its own only');
is(heard('watcher'), 'alice-1 mallory-1', 'pg_monitor of all');

$node->safe_psql('postgres', 'SELECT durable.renew_notify_channels()');
isnt(as('alice', 'SELECT durable.notify_channel()'), $channel_of{alice}, 'new names');
as('alice', q(SELECT durable.start_new('answer', instance_id => 'alice-2')));
$node->poll_query_until('postgres', "SELECT runtime_status = 'Completed' FROM durable.instances WHERE instance_id = 'alice-2'");
is(heard('alices'), '', 'for processes that have used the old one too');
ear_does('alices', "SELECT format('LISTEN %I', durable.notify_channel('alice')) \\gexec");
as('alice', q(SELECT durable.start_new('answer', instance_id => 'alice-3')));
$node->poll_query_until('postgres', "SELECT runtime_status = 'Completed' FROM durable.instances WHERE instance_id = 'alice-3'");
is(heard('alices'), 'alice-3', 'who asks again hears again');
foreach my $ear (values %ears)
{
	$ear->{in} .= "\\q\n";
	$ear->{session}->finish;
}

done_testing();
