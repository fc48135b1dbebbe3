# Activities that are cancelled with their instances, thousands of them, beside instances of the same role: an interrupt that
# comes late, when its worker has gone on to something of another instance, must not be the failure of that.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $count = $ENV{DURABLE_CANCELS} // 400;
my $node = durable_node('cancel', conf => "durable.max_workers = 4\ndurable.max_activity_deliveries = 1000");

$node->safe_psql('postgres', q[
CREATE FUNCTION short(seconds float8) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(seconds)';
CREATE FUNCTION victim() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('short', to_jsonb(0.0005 * i)) FROM generate_series(1, 6) i));
	PERFORM durable.sleep('1 hour');
END $$;
CREATE FUNCTION bystander() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		PERFORM durable.call_activity('short', '0.001');
		PERFORM durable.when_all(durable.schedule_activity('short', '0.001'), durable.schedule_activity('short', '0.001'));
	END LOOP;
	RETURN 9;
END $$;
CREATE PROCEDURE submit(count int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. count LOOP
		PERFORM durable.start_new('victim', instance_id => 'victim-' || i), durable.start_new('bystander', instance_id => 'bystander-' || i);
		COMMIT;
		IF i > 8 THEN
			PERFORM durable.terminate('victim-' || i - 8, cancel_activities => true);
			COMMIT;
		END IF;
		PERFORM pg_sleep(0.003 * random());
	END LOOP;
	PERFORM durable.terminate('victim-' || i, cancel_activities => true) FROM generate_series(greatest(count - 7, 1), count) i;
END $$;
]);
$node->safe_psql('postgres', "CALL submit($count)");
poll_until($node, q[SELECT count(*) = 0 FROM durable.instances WHERE runtime_status IN ('Pending', 'Running')], 'all end');
is($node->safe_psql('postgres', q[SELECT i.instance_id, i.failure FROM durable.instances i WHERE i.instance_id LIKE 'bystander%' AND i.runtime_status <> 'Completed' LIMIT 3]), '',
	'no instance was interrupted in place of another');
is($node->safe_psql('postgres', q[SELECT DISTINCT runtime_status FROM durable.instances WHERE instance_id LIKE 'victim%']), 'Terminated', 'those that were meant are terminated');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

# Clients that cancel, replace and rewind instances all the time, beside others of the same role whose activities are short.
# What nobody has asked to interrupt must not fail with 57014.
my $seconds = $ENV{DURABLE_CANCEL_SECONDS} // 8;
$node->safe_psql('postgres', q[
CREATE PROCEDURE meddle(number int, stop_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	id text := 'target-' || number;
	choice float8;
BEGIN
	WHILE clock_timestamp() < stop_at LOOP
		choice := random();
		BEGIN
			IF choice < 0.4 THEN
				PERFORM durable.start_new('victim', instance_id => id, dedupe_statuses => '{}');
			ELSIF choice < 0.8 THEN
				PERFORM durable.terminate(id, cancel_activities => true);
			ELSE
				PERFORM durable.rewind(id);
			END IF;
		EXCEPTION WHEN SQLSTATE 'OD001' OR SQLSTATE 'OD002' THEN NULL;
		END;
		COMMIT;
		PERFORM pg_sleep(0.004 * random());
	END LOOP;
END $$;
CREATE PROCEDURE submit_bystanders(stop_at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	WHILE clock_timestamp() < stop_at LOOP
		PERFORM durable.start_new('bystander', instance_id => 'bystander-' || gen_random_uuid());
		-- one whose row is wanted while it runs: its activity is interrupted to be run later
		PERFORM durable.start_new('bystander', instance_id => 'bystander-wanted', dedupe_statuses => '{Pending,Running}', on_duplicate => 'ignore');
		COMMIT;
		BEGIN
			PERFORM durable.rewind('bystander-wanted');
		EXCEPTION WHEN SQLSTATE 'OD001' OR SQLSTATE 'OD002' THEN NULL;
		END;
		COMMIT;
		PERFORM pg_sleep(0.01 * random());
	END LOOP;
END $$]);
my @calls = ((map { "meddle($_, " } 1 .. 3), 'submit_bystanders(');
my @sessions = map { IPC::Run::start([ 'psql', '-XAtq', '-c', "CALL ${_}clock_timestamp() + '$seconds s')", $node->connstr('postgres') ],
	'<', \undef, '>', \my $out, '2>', \my $err) } @calls;
my $failed = 0;
$failed += !$_->finish for @sessions;
is($failed, 0, 'clients meddle until the end');
$node->safe_psql('postgres', q[SELECT count(durable.terminate(instance_id, cancel_activities => true)) FROM durable.instances WHERE instance_id LIKE 'target%' AND completed_time IS NULL]);
poll_until($node, q[SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL], 'all end');
is($node->safe_psql('postgres', q[SELECT i.instance_id, i.failure FROM durable.instances i WHERE i.instance_id LIKE 'bystander%' AND i.runtime_status <> 'Completed' LIMIT 3]), '',
	'no instance was interrupted in place of another');
diag($node->safe_psql('postgres', q[SELECT count(*) FILTER (WHERE instance_id LIKE 'bystander%') || ' bystanders' FROM durable.instances]));

# The activity of an instance that is terminated runs in the round of a turn, since it is known to be quick, and waits for a
# lock; the round would go on with a turn, which would make the instance fail.
$node->safe_psql('postgres', q[
ALTER SYSTEM SET durable.batch_time = '10s';
SELECT pg_reload_conf();
CREATE FUNCTION locks() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM pg_advisory_xact_lock(1)';
CREATE FUNCTION call_locks() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('locks'); END $$]);
poll_until($node, q[SELECT current_setting('durable.batch_time') = '10s' AND NOT EXISTS
	(SELECT FROM pg_stat_activity WHERE backend_type = 'durable worker' AND backend_start <= pg_conf_load_time())], 'workers know the settings');
$node->safe_psql('postgres', q[SELECT durable.start_new('call_locks', instance_id => 'quick-' || i) FROM generate_series(1, 5) i]);
poll_until($node, q[SELECT count(*) = 5 FROM durable.instances WHERE name = 'call_locks' AND runtime_status = 'Completed'], 'an activity is known to be quick');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
$node->safe_psql('postgres', q[SELECT durable.start_new('call_locks', instance_id => 'inside')]);
poll_until($node, q[SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted], 'it waits for a lock');
$node->safe_psql('postgres', q[SELECT durable.terminate('inside', cancel_activities => true)]);
poll_until($node, q[SELECT runtime_status NOT IN ('Pending', 'Running') FROM durable.get_status('inside')], 'it is cancelled');
is($node->safe_psql('postgres', q[SELECT runtime_status FROM durable.get_status('inside')]), 'Terminated', 'and terminated');
$holder->quit;

# An administrator's interrupt is meant for what runs.
$node->safe_psql('postgres', q[
CREATE FUNCTION long() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(600)';
CREATE FUNCTION call_long() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('long'); END $$;
SELECT durable.start_new('call_long', instance_id => 'meant')]);
poll_until($node, q[SELECT count(*) = 1 FROM pg_stat_activity JOIN durable.workers w USING (pid) WHERE w.place = 'long' AND wait_event = 'PgSleep'], 'an activity runs');
$node->safe_psql('postgres', q[SELECT pg_cancel_backend(pid) FROM pg_stat_activity JOIN durable.workers w USING (pid) WHERE w.place = 'long' AND wait_event = 'PgSleep']);
poll_until($node, q[SELECT failure->>'sqlstate' FROM durable.get_status('meant')], 'an interrupt that is meant for an activity is its failure', '57014');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
$node->stop;
done_testing();
