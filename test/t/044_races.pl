# What comes for an instance while a client's transaction has its row is not left to polling, even if that rolls back, nor
# what a round was looking at when it failed; an interrupt that comes too late does no harm.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# a role gets all workers but the last: one
my $node = durable_node('races', conf => "durable.poll_interval = 1h\ndurable.max_workers = 2\ndurable.worker_idle_timeout = 1h\nmax_prepared_transactions = 2");
my $connection = 'dbname=postgres host=' . $node->host . ' port=' . $node->port;

$node->safe_psql('postgres', q[
CREATE EXTENSION dblink;
CREATE FUNCTION listens() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go') $$;
SELECT durable.start_new('listens', instance_id => 'raced');
]);
poll_until($node, q[SELECT runtime_status = 'Running' FROM durable.get_status('raced')], 'it waits');

is($node->safe_psql('postgres', qq[
BEGIN;
SELECT durable.start_new('listens', instance_id => 'raced', dedupe_statuses => '{}');
DO \$\$
DECLARE
	before bigint := (SELECT sum(batches) FROM durable.stats);
BEGIN
	PERFORM FROM dblink('$connection', 'SELECT 1 FROM durable.raise_event(''raced'', ''go'', ''1'')') AS t (one int);
	-- until a worker has met the locked row
	WHILE (SELECT sum(batches) FROM durable.stats) = before LOOP
	END LOOP;
END \$\$;
ROLLBACK;
SELECT runtime_status, output FROM durable.wait_for_completion('raced', '1 min');
]), "raced\nCompleted|1", 'an event raised meanwhile arrives at the rollback');
# An interrupt that comes when the activity it was meant for has ended is the one of a worker that has nothing to do.  On a busy
# machine there may be several: a call that takes longer than durable.batch_time goes on alone, and its place is another's.
my $at_rest = q[SELECT bool_and(state = 'idle') FROM durable.workers];
poll_until($node, $at_rest, 'all workers are idle');
my $cancelled = $node->safe_psql('postgres', q[
DO $$
BEGIN
	LOOP
		PERFORM set_config('test.cancelled', string_agg(pid::text, ',') FILTER (WHERE pg_cancel_backend(pid)), false)
		   FROM durable.workers WHERE state = 'idle';
		EXIT WHEN current_setting('test.cancelled') <> '';
	END LOOP;
END $$;
SELECT durable.start_new('listens', instance_id => 'after') AS id \gset
SELECT current_setting('test.cancelled')]);
$node->safe_psql('postgres', q[SELECT durable.raise_event('after', 'go')]);
is($node->safe_psql('postgres', q[SELECT runtime_status FROM durable.wait_for_completion('after', '1 min')]), 'Completed', 'an instance that comes then ends');
poll_until($node, $at_rest, 'all workers are idle again');
is($node->safe_psql('postgres', "SELECT pid FROM unnest('{$cancelled}'::int[]) pid WHERE pid NOT IN (SELECT pid FROM durable.workers WHERE pid IS NOT NULL)"),
	'', 'a late interrupt does not end a worker');

# A worker passes over a queued activity that a client's transaction is about to remove with its instance.
$node->safe_psql('postgres', q[
CREATE FUNCTION blocks() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); END $$;
CREATE FUNCTION quick() RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION pair() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RETURN cardinality(durable.when_all(durable.schedule_activity('blocks'), durable.schedule_activity('quick')));
END $$;
ALTER SYSTEM SET durable.max_workers = 1;
SELECT pg_reload_conf()]);
poll_until($node, q[SELECT count(*) = 0 FROM durable.workers], 'the worker leaves');
is($node->safe_psql('postgres', q[
SELECT pg_advisory_lock(1);
SELECT durable.start_new('pair', instance_id => 'kept');
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) LOOP PERFORM pg_sleep(0.01); COMMIT; END LOOP; END $$;
BEGIN;
SELECT durable.start_new('pair', instance_id => 'kept', dedupe_statuses => '{}');
SELECT pg_advisory_unlock(1);
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM durable.workers WHERE state = 'idle') LOOP END LOOP; END $$;
ROLLBACK;
SELECT output FROM durable.wait_for_completion('kept', '1 min')]) =~ s/.*\n//sr, '2', 'a queued activity is not forgotten when its removal is rolled back');

# A round that fails with an error that will pass: the event that it had taken in is still there.
$node->safe_psql('postgres', q[
ALTER SYSTEM RESET durable.max_workers;
SELECT pg_reload_conf();
CREATE ROLE hasty LOGIN;
SELECT durable.grant_usage('hasty');
ALTER ROLE hasty SET lock_timeout = '50 ms';
SET ROLE hasty;
SELECT durable.start_new('listens', instance_id => 'hindered')]);
poll_until($node, q[SELECT runtime_status = 'Running' FROM durable.get_status('hindered')], 'it waits');
my $log = server_log($node);
is($node->safe_psql('postgres', qq[
SELECT length(pg_read_file('$log')) AS before \\gset
BEGIN;
LOCK TABLE durable_internal.history IN SHARE MODE;
SELECT FROM dblink('$connection', 'SELECT 1 FROM durable.raise_event(''hindered'', ''go'', ''2'')') AS t (one int);
SELECT set_config('test.before', :'before', true);
DO \$\$
BEGIN
	WHILE substr(pg_read_file('$log'), current_setting('test.before')::int) NOT LIKE '%will try an ' || 'instance again%' LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END \$\$;
COMMIT;
SELECT output FROM durable.wait_for_completion('hindered', '1 min')]) =~ s/.*\n//sr, '2', 'an event is not forgotten when a round fails');

# A prepared transaction has no hints left when it commits, nor when it gives back what workers have passed over.
is($node->safe_psql('postgres', q[
BEGIN;
SELECT durable.start_new('quick', instance_id => 'prepared'), durable.start_new('quick', instance_id => 'later', start_at => clock_timestamp() + '200 ms');
PREPARE TRANSACTION 'started';
COMMIT PREPARED 'started';
SELECT runtime_status FROM durable.wait_for_completion('prepared', '1 min');
SELECT runtime_status FROM durable.wait_for_completion('later', '1 min')]) =~ s/^[^C].*\n//gmr, "Completed\nCompleted", 'COMMIT PREPARED wakes the engine');
$node->safe_psql('postgres', q[SELECT durable.start_new('listens', instance_id => 'locked')]);
poll_until($node, q[SELECT runtime_status = 'Running' FROM durable.get_status('locked')], 'it waits');
is($node->safe_psql('postgres', q[
BEGIN;
SELECT durable.start_new('listens', instance_id => 'locked', dedupe_statuses => '{}');
PREPARE TRANSACTION 'replaced';
DO $$
DECLARE
	before bigint := (SELECT sum(batches) FROM durable.stats);
BEGIN
	PERFORM durable.raise_event('locked', 'go', '3');
	COMMIT;
	WHILE (SELECT sum(batches) FROM durable.stats) = before LOOP
		COMMIT;
	END LOOP;
END $$;
ROLLBACK PREPARED 'replaced';
SELECT output FROM durable.wait_for_completion('locked', '1 min')]) =~ s/.*\n//sr, '3', 'ROLLBACK PREPARED too');

# A timer of a time that has passed, the server's epoch.
is($node->safe_psql('postgres', q(
CREATE FUNCTION passed() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.sleep_until('2000-01-01 00:00:00+00'); RETURN 1; END $$;
SELECT durable.start_new('passed', instance_id => 'passed');
SELECT output FROM durable.wait_for_completion('passed', '1 min'))), "passed\n1", 'a timer of 2000 does not wait');

is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

# Work that is in hand when the extension is dropped is not given to one worker after the other that finds no extension.
$node->safe_psql('postgres', q(
CREATE FUNCTION goes_on(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.continue_as_new(to_jsonb(n + 1)); RETURN n; END $$;
SELECT count(*) FROM (SELECT durable.start_new('goes_on', '0') FROM generate_series(1, 100)) started));
poll_until($node, q(SELECT sum(turns) > 1000 FROM durable.stats), 'instances go on');
$node->safe_psql('postgres', 'DROP EXTENSION durable');
poll_until($node, q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('durable scheduler', 'durable worker')), 'DROP EXTENSION ends scheduler and workers without polling');

# A worker that another scheduler has started, before something ended that, does not outlive the extension either.
$node->safe_psql('postgres', q(
CREATE EXTENSION durable;
CREATE FUNCTION quick_one() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT durable.start_new('quick_one', instance_id => 'quick')));
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.get_status('quick')), 'an instance ends');
poll_until($node, $at_rest, 'its worker is idle');
my $pids = q(SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM durable.workers);
my $workers = $node->safe_psql('postgres', $pids);
my $scheduler = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable scheduler'));
$node->safe_psql('postgres', "SELECT pg_terminate_backend($scheduler)");
poll_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'durable scheduler' AND state = 'idle' AND pid <> $scheduler", 'another scheduler comes');
is($node->safe_psql('postgres', $pids), $workers, 'the worker stays');
$node->safe_psql('postgres', 'DROP EXTENSION durable');
poll_until($node, q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('durable scheduler', 'durable worker')), 'DROP EXTENSION ends it');

done_testing();
