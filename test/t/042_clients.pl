# Many clients at once, and calls from unusual places: one id started by 50 sessions, triggers, 10,000 rows of one
# statement, savepoints, prepared transactions; sessions that wait, are cancelled, or hold an old snapshot.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('clients', conf => "max_connections = 150\nmax_prepared_transactions = 5\n");
$node->safe_psql('postgres', q[
	CREATE FUNCTION echo(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
	CREATE FUNCTION wait_go() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go') $$;
	CREATE TABLE outcome (pid int DEFAULT pg_backend_pid(), result text);
	CREATE FUNCTION try(statement text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		result text;
	BEGIN
		BEGIN
			EXECUTE statement INTO result;
		EXCEPTION WHEN OTHERS THEN
			result := SQLSTATE;
		END;
		INSERT INTO outcome (result) VALUES (result);
	END $$;
]);

# Starts clients that each run a statement once, as outcomes; returns the handle of all of them.
sub clients
{
	my ($count, $statement) = @_;
	my $script = "$PostgreSQL::Test::Utils::tmp_check/clients.sql";
	open(my $file, '>', $script) or die "$script: $!";
	print $file "SELECT try(\$\$$statement\$\$);\n";
	close($file) or die;
	my @command = ('pgbench', '-n', '-c', $count, '-t', 1, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres');
	$node->safe_psql('postgres', 'TRUNCATE outcome');
	return IPC::Run::start(\@command, '<', \'', '>', \my $out, '2>', \my $err, IPC::Run::timeout(180));
}

sub outcomes
{
	return $node->safe_psql('postgres', q(SELECT string_agg(result || ' ' || count, ', ' ORDER BY result) FROM (SELECT result, count(*) FROM outcome GROUP BY 1) o));
}

# One id, 50 sessions: they all wait for the one that came first; when that rolls back, one of them wins.
my $first = $node->background_psql('postgres');
$first->query_safe('BEGIN');
$first->query_safe(q(SELECT durable.start_new('wait_go', instance_id => 'one')));
my $clients = clients(50, q(SELECT 'started' FROM durable.start_new('wait_go', instance_id => 'one')));
poll_until($node, q(SELECT count(*) = 50 FROM pg_stat_activity WHERE wait_event_type = 'Lock'), '50 sessions wait for the first');
$first->query_safe('ROLLBACK');
$clients->finish;
is(outcomes(), 'OD003 49, started 1', 'one of them wins, the others are told so');

$clients = clients(50, q(SELECT durable.start_new('wait_go', instance_id => 'two', on_duplicate => 'ignore')));
$clients->finish;
is(outcomes(), 'two 50', 'all may ask for the same instance');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.history WHERE instance_id = 'two' AND event_type = 'ExecutionStarted')), '1', 'it is started once');

$clients = clients(20, q(SELECT durable.start_new('wait_go', instance_id => 'three', dedupe_statuses => '{}')));
$clients->finish;
is(outcomes(), 'three 20', 'all may replace the same instance');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable_internal.instances WHERE instance_id = 'three')), '1', 'one is left');
$clients = clients(20, q(SELECT durable.restart('three', false)));
$clients->finish;
is(outcomes(), 'OD002 20', 'none may restart it while it is live');
$node->safe_psql('postgres', q(SELECT durable.raise_event(id, 'go', to_jsonb(id)) FROM unnest('{one,two,three}'::text[]) id));
is($node->safe_psql('postgres', q(SELECT string_agg(output #>> '{}', ' ') FROM unnest('{one,two,three}'::text[]) id, durable.wait_for_completion(id, '1 min'))),
	'one two three', 'they all work');

# From 10,000 rows of one statement; in subtransactions that roll back; from a trigger.
is($node->safe_psql('postgres', q[
	SELECT count(durable.start_new('echo', to_jsonb(i), CASE WHEN i % 2 = 0 THEN 'many-' || i END, tags => '{"many": true}')) FROM generate_series(1, 10000) i]),
	'10000', '10,000 rows of one statement start one each');
poll_until($node, q(SELECT count FROM durable.count_instances('{Completed}', tags => '{"many": true}')), 'and all complete', '10000');
$node->safe_psql('postgres', q[
	DO $$
	BEGIN
		FOR i IN 1..200 LOOP
			BEGIN
				PERFORM durable.start_new('echo', to_jsonb(i), 'savepoint-' || i, tags => '{"savepoint": true}');
				PERFORM durable.start_new('echo', to_jsonb(i), tags => '{"savepoint": true}');
				IF i % 2 = 0 THEN
					RAISE EXCEPTION 'rolled back';
				END IF;
			EXCEPTION WHEN raise_exception THEN
				PERFORM durable.start_new('echo', to_jsonb(-i), 'savepoint-' || i, tags => '{"savepoint": true}');
			END;
		END LOOP;
	END $$]);
poll_until($node, q(SELECT count FROM durable.count_instances('{Completed}', tags => '{"savepoint": true}')), 'subtransactions: what was not rolled back completes', '300');
is($node->safe_psql('postgres', q(SELECT sum((output #>> '{}')::int) FROM durable.instances WHERE instance_id LIKE 'savepoint-%')), '-100', 'and nothing else');
$node->safe_psql('postgres', q[
	CREATE TABLE orders (id int PRIMARY KEY, note text);
	CREATE FUNCTION order_placed() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM durable.start_new('echo', to_jsonb(NEW), 'order-' || NEW.id);
		RETURN NEW;
	END $$;
	CREATE TRIGGER order_placed AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION order_placed();
	CREATE CONSTRAINT TRIGGER order_checked AFTER UPDATE ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION order_placed();
	INSERT INTO orders SELECT i, 'new' FROM generate_series(1, 100) i;
]);
poll_until($node, q(SELECT count(*) FROM durable.query_instances('{Completed}', instance_id_prefix => 'order-') WHERE output ->> 'note' = 'new'), 'a trigger starts one for each row', '100');
$node->safe_psql('postgres', q(UPDATE orders SET note = 'changed'));
poll_until($node, q(SELECT count(*) FROM durable.query_instances('{Completed}', instance_id_prefix => 'order-') WHERE output ->> 'note' = 'changed'), 'so does a deferred one, and replaces', '100');

# Prepared transactions.
$node->safe_psql('postgres', q[
	BEGIN;
	SELECT durable.start_new('echo', '1', 'prepared-1');
	SELECT durable.raise_event(durable.start_new('wait_go', NULL, 'prepared-2'), 'go', '2');
	SELECT durable.start_new('echo', '3', tags => '{"prepared": true}');
	PREPARE TRANSACTION 'p1';
	BEGIN;
	SELECT durable.start_new('echo', '4', 'prepared-4');
	PREPARE TRANSACTION 'p2']);
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.query_instances(instance_id_prefix => 'prepared'))), '0', 'nothing starts before COMMIT PREPARED');
$first->quit;
$node->restart;
$node->safe_psql('postgres', q(COMMIT PREPARED 'p1'));
$node->safe_psql('postgres', q(ROLLBACK PREPARED 'p2'));
is($node->safe_psql('postgres', q(SELECT string_agg(output #>> '{}', ' ') FROM unnest('{prepared-1,prepared-2}'::text[]) id, durable.wait_for_completion(id, '1 min'))),
	'1 2', 'and all does after it, also over a restart of the server');
poll_until($node, q(SELECT count FROM durable.count_instances('{Completed}', tags => '{"prepared": true}')), 'with ids that were made as well', '1');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.query_instances(instance_id_prefix => 'prepared-4'))), '0', 'nothing after ROLLBACK PREPARED');

# What nobody can count is not prepared.
$node->safe_psql('postgres', q(CREATE ROLE limited LOGIN; SELECT durable.grant_usage('limited'), durable.set_quota('limited', live_instances => 5)));
like(($node->psql('postgres', q[
	SET ROLE limited;
	BEGIN;
	SELECT durable.start_new('echo', '5', 'prepared-5');
	PREPARE TRANSACTION 'p3']))[2], qr/cannot prepare a transaction that has started instances of a role with a quota of them/, 'a quota of instances');
$node->safe_psql('postgres', q[
	SET ROLE limited;
	BEGIN;
	SAVEPOINT a;
	SELECT durable.start_new('echo', '5', 'prepared-5');
	ROLLBACK TO a;
	PREPARE TRANSACTION 'p3';
	ROLLBACK PREPARED 'p3']);

# Savepoints that have started instances under a quota make those after them no slower.
$node->safe_psql('postgres', q[
	CREATE FUNCTION start_in_savepoints(n int) RETURNS float LANGUAGE plpgsql AS $$
	DECLARE
		begun timestamptz := clock_timestamp();
	BEGIN
		FOR i IN 1 .. n LOOP
			BEGIN
				PERFORM durable.start_new('echo');
			EXCEPTION WHEN division_by_zero THEN
			END;
		END LOOP;
		RETURN extract(epoch FROM clock_timestamp() - begun);
	END $$]);
sub savepoints { return $node->safe_psql('postgres', 'SET ROLE limited; BEGIN; SELECT start_in_savepoints(60000); ROLLBACK') }
$node->safe_psql('postgres', q(SELECT durable.set_quota('limited')));
my $unlimited = savepoints();
$node->safe_psql('postgres', q(SELECT durable.set_quota('limited', live_instances => 1000000)));
cmp_ok(savepoints(), '<', 3 * $unlimited, 'many savepoints under a quota');

# 100 sessions wait at once, and sleep while they do.
$node->safe_psql('postgres', q(SELECT durable.start_new('wait_go', instance_id => 'awaited')));
poll_until($node, q(SELECT count(*) = 1 FROM durable.history WHERE instance_id = 'awaited' AND event_type = 'EventSubscribed'), 'an instance waits');
$clients = clients(100, q(SELECT runtime_status FROM durable.wait_for_completion('awaited', '2 min')));
my $waiting = q{FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND query LIKE '%wait_for_completion(''awaited%'};
poll_until($node, "SELECT count(*) = 100 $waiting", '100 sessions wait for it');
my @pids = split /\n/, $node->safe_psql('postgres', "SELECT pid $waiting");

# How often the processes have gone to sleep.
sub sleeps
{
	my $sum = 0;
	foreach my $pid (@_)
	{
		return undef unless -r "/proc/$pid/status";
		slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m or return undef;
		$sum += $1;
	}
	return $sum;
}
SKIP:
{
	my $before = sleeps(@pids);
	skip 'no /proc', 1 unless defined $before;
	# meanwhile others wait for 300 instances, one by one
	$node->safe_psql('postgres', q(
		SELECT durable.start_new('wait_go', instance_id => 'other-' || i) FROM generate_series(1, 300) i;
		SELECT durable.raise_event('other-' || i, 'go') FROM generate_series(1, 300) i;
		SELECT count(*) FROM generate_series(1, 300) i, durable.wait_for_completion('other-' || i)));
	my $slept = sleeps(@pids) - $before;
	note "100 waiting sessions woke $slept times";
	cmp_ok($slept, '<', 300, 'and are not woken by the ends of others');
}
$node->safe_psql('postgres', q(SELECT durable.raise_event('awaited', 'go')));
$clients->finish;
is(outcomes(), 'Completed 100', 'all are woken');

# A wait can be cancelled, timed out, and its session killed; nothing is left of it.
$node->safe_psql('postgres', q(SELECT durable.start_new('wait_go', instance_id => 'cancelled')));
$clients = clients(3, q(SELECT runtime_status FROM durable.wait_for_completion('cancelled', '2 min')));
$waiting =~ s/awaited/cancelled/;
poll_until($node, "SELECT count(*) = 3 $waiting", '3 sessions wait');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $waiting LIMIT 1");
poll_until($node, "SELECT count(*) = 2 $waiting", 'one is cancelled');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) $waiting LIMIT 1");
poll_until($node, "SELECT count(*) = 1 $waiting", 'one is terminated');
my ($rc, $out, $err) = $node->psql('postgres', q(SET statement_timeout = '100 ms'; SELECT durable.wait_for_completion('cancelled', '2 min')));
like($err, qr/canceling statement due to statement timeout/, 'statement_timeout ends a wait');
$node->safe_psql('postgres', q(SELECT durable.raise_event('cancelled', 'go')));
$clients->finish;
is($node->safe_psql('postgres', q(SELECT runtime_status FROM durable.wait_for_completion('cancelled'))), 'Completed', 'waiting works after that');

# The end is seen in every isolation level, whatever snapshot the transaction has.
$first = $node->background_psql('postgres');
foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE', 'SERIALIZABLE READ ONLY')
{
	$node->safe_psql('postgres', q(SELECT durable.start_new('wait_go', instance_id => 'isolation', dedupe_statuses => '{}')));
	$first->query_safe("BEGIN ISOLATION LEVEL $level");
	is($first->query_safe(q(SELECT runtime_status IN ('Pending', 'Running') FROM durable.get_status('isolation'))), 't', "$level: it is live in the transaction's snapshot");
	$node->safe_psql('postgres', q(SELECT durable.raise_event('isolation', 'go', '"came"')));
	is($first->query_safe(q(SELECT runtime_status || ' ' || output FROM durable.wait_for_completion('isolation', '1 min'))), 'Completed "came"', "$level: the wait sees its end");
	$first->query_safe('COMMIT');
}
$first->quit;

is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), '0', 'no invariant is broken');
$node->stop;
done_testing();
