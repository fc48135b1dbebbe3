# No wake-up is lost: three roles, more than there are workers for, and workers that are terminated or cancelled at random,
# while clients hold rows that the engine wants.  The scheduler looks into the tables once an hour only, so that an instance
# of which nobody tells the engine stays where it is for good.  DURABLE_WAKE_SECONDS says how long the load lasts,
# DURABLE_SEED what it consists of.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'usleep';
use DurableTest;

my $seconds = $ENV{DURABLE_WAKE_SECONDS} // 15;
my $seed = $ENV{DURABLE_SEED} // int(rand(1_000_000));

diag("seed $seed, $seconds s");
srand($seed);

my $node = durable_node('terminations', conf => q(
durable.poll_interval = 1h
durable.max_workers = 3
durable.worker_idle_timeout = 1
durable.max_activity_deliveries = 1000
max_connections = 50
autovacuum_naptime = 5s
));

$node->safe_psql('postgres', q[
CREATE ROLE one LOGIN;
CREATE ROLE two LOGIN;
CREATE ROLE three LOGIN;
SELECT durable.grant_usage('one'), durable.grant_usage('two'), durable.grant_usage('three');
CREATE TABLE raised (id text, n int);
CREATE TABLE strikes (what text, state text);
GRANT ALL ON raised TO one, two, three;

CREATE FUNCTION step(seconds float8) RETURNS float8 LANGUAGE plpgsql AS $$
BEGIN
	IF seconds > 0 THEN
		PERFORM pg_sleep(seconds);
	END IF;
	RETURN seconds;
END $$;
CREATE FUNCTION quick_step() RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION at_second() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF durable.attempt() < 2 THEN
		RAISE EXCEPTION 'not yet';
	END IF;
	RETURN 2;
END $$;
CREATE FUNCTION chain() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 5 LOOP
		PERFORM durable.call_activity('quick_step');
	END LOOP;
	RETURN 5;
END $$;
CREATE FUNCTION fan() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RETURN cardinality(durable.when_all(VARIADIC ARRAY(
		SELECT durable.schedule_activity('step', to_jsonb(0.004 * (i % 4))) FROM generate_series(1, 12) i)));
END $$;
CREATE FUNCTION timers() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		PERFORM durable.sleep(i * '30 ms'::interval);
		PERFORM durable.call_activity('quick_step');
	END LOOP;
END $$;
CREATE FUNCTION events() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	got jsonb := '[]';
BEGIN
	FOR i IN 1 .. 3 LOOP
		got := got || durable.wait_for_external_event('e');
		PERFORM durable.call_activity('quick_step');
	END LOOP;
	RETURN got;
END $$;
CREATE FUNCTION slow() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_activity('step', to_jsonb(0.1 + 0.02 * (ascii(right(durable.instance_id(), 1)) % 10)));
END $$;
CREATE FUNCTION parent() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	a durable.task := durable.schedule_sub_orchestrator('chain');
	b durable.task := durable.schedule_sub_orchestrator('timers');
BEGIN
	PERFORM durable.when_all(a, b);
END $$;
CREATE FUNCTION eternal(n int DEFAULT 1) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.when_any(durable.schedule_activity('step', '0.02'), durable.create_timer('10 ms'));
	IF n < 4 THEN
		PERFORM durable.continue_as_new(to_jsonb(n + 1));
	END IF;
	RETURN n;
END $$;
CREATE FUNCTION retries() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_activity('at_second', retry => durable.retry_policy(max_attempts => 5, first_interval => '20 ms'));
END $$;

-- Starts instances of one role, a few at a time, unless the machine is so slow that many wait already.
CREATE PROCEDURE submit(seed float8, stop_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	kinds text[] := '{chain,chain,chain,chain,fan,timers,timers,events,events,slow,parent,eternal,retries}';
BEGIN
	PERFORM setseed(seed);
	WHILE clock_timestamp() < stop_at LOOP
		IF (SELECT count(*) FROM durable.instances WHERE completed_time IS NULL AND owner = current_user::regrole) < 200 THEN
			FOR i IN 1 .. random() * 6 LOOP
				PERFORM durable.start_new(kinds[1 + floor(random() * cardinality(kinds))::int]);
			END LOOP;
		END IF;
		COMMIT;
		PERFORM pg_sleep(random() * random() * 0.6);
		-- now and then all of a role's work ends, and its workers leave
		IF random() < 0.01 THEN
			PERFORM pg_sleep(2);
		END IF;
	END LOOP;
END $$;
-- Raises events, holds rows that are given back, and rewinds, as one of the roles.
CREATE PROCEDURE operate(seed float8, stop_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	target record;
BEGIN
	PERFORM setseed(seed);
	WHILE clock_timestamp() < stop_at LOOP
		INSERT INTO raised SELECT instance_id, n FROM durable.instances i, generate_series(1, 3) n
		 WHERE name = 'events' AND completed_time IS NULL AND owner = current_user::regrole
		   AND NOT EXISTS (SELECT FROM raised WHERE id = instance_id) ORDER BY 1, 2 LIMIT 30;
		COMMIT;
		FOR target IN SELECT id, n FROM raised, durable.instances WHERE instance_id = id AND completed_time IS NULL AND n > 0 AND owner = current_user::regrole
		 ORDER BY random() LIMIT 3 LOOP
			UPDATE raised SET n = -n WHERE id = target.id AND n = target.n;
			BEGIN
				PERFORM durable.raise_event(target.id, 'e', to_jsonb(target.n));
			EXCEPTION WHEN SQLSTATE 'OD001' OR SQLSTATE 'OD002' THEN NULL;
			END;
			COMMIT;
		END LOOP;
		BEGIN
			SELECT instance_id, name INTO target FROM durable.instances
			 WHERE completed_time IS NULL AND parent_instance_id IS NULL AND owner = current_user::regrole ORDER BY random() LIMIT 1;
			-- rarely, since its instance is looked at again afterwards, whatever else has been forgotten
			IF random() < 0.05 AND target.instance_id IS NOT NULL THEN
				PERFORM durable.start_new(target.name, instance_id => target.instance_id, dedupe_statuses => '{}');
				PERFORM pg_sleep(random() * 0.05);
				RAISE EXCEPTION 'not this time' USING ERRCODE = 'OD002';
			END IF;
			SELECT instance_id INTO target FROM durable.instances
			 WHERE runtime_status = 'Failed' AND parent_instance_id IS NULL AND owner = current_user::regrole ORDER BY random() LIMIT 1;
			PERFORM durable.rewind(target.instance_id);
		EXCEPTION WHEN SQLSTATE 'OD001' OR SQLSTATE 'OD002' OR null_value_not_allowed OR lock_not_available THEN NULL;
		END;
		COMMIT;
		PERFORM pg_sleep(random() * 0.05);
	END LOOP;
END $$;
-- Ends or interrupts workers, whatever they do.
CREATE PROCEDURE strike(seed float8, stop_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	victim record;
	what text;
BEGIN
	PERFORM setseed(seed);
	WHILE clock_timestamp() < stop_at LOOP
		-- one that does not get so far as to start is replaced after a pause only, so that is to be rare
		SELECT pid, state INTO victim FROM durable.workers WHERE state <> 'starting' OR random() < 0.02 ORDER BY random() LIMIT 1;
		what := CASE WHEN random() < 0.8 THEN 'terminate' ELSE 'cancel' END;
		IF (CASE what WHEN 'terminate' THEN pg_terminate_backend(victim.pid) ELSE pg_cancel_backend(victim.pid) END) THEN
			INSERT INTO strikes VALUES (what, victim.state);
		END IF;
		COMMIT;
		PERFORM pg_sleep(random() * random() * 1.6);
	END LOOP;
END $$;
]);

# Runs a procedure until the load ends.
sub run
{
	my ($procedure, $role) = @_;
	my $call = sprintf("CALL %s(%f, clock_timestamp() + '%d s')", $procedure, rand, $seconds);

	return IPC::Run::start([ 'psql', '-XAtq', '-U', $role, '-c', $call, $node->connstr('postgres') ], '<', \undef, '>', \my $out, '2>', \my $err);
}

# Work of a role for which no worker can be started is looked at again when the pause is over.
$node->safe_psql('postgres', q[
CREATE ROLE barred LOGIN;
SELECT durable.grant_usage('barred');
SET ROLE barred;
SELECT durable.start_new('chain', instance_id => 'barred', start_at => clock_timestamp() + '500 ms');
RESET ROLE;
ALTER ROLE barred NOLOGIN]);
poll_until($node, q[SELECT pg_read_file('] . server_log($node) . q[') LIKE '%is not permitted to log in%'], 'no worker can be started for a role');
$node->safe_psql('postgres', 'ALTER ROLE barred LOGIN');

my $admin = $node->safe_psql('postgres', 'SELECT current_user');
my @sessions = map { (run('submit', $_), run('operate', $_)) } qw(one two three);
push @sessions, run('strike', $admin);
my $failed = 0;
$failed += !$_->finish for @sessions;
is($failed, 0, 'the load was there until the end');

# The rest of the events, then all that has been told to the engine has to end without further hint.
$node->safe_psql('postgres', q[DO $$
DECLARE
	target record;
BEGIN
	FOR target IN SELECT instance_id, n FROM durable.instances, generate_series(1, 3) n WHERE name = 'events' AND completed_time IS NULL ORDER BY n LOOP
		BEGIN
			PERFORM durable.raise_event(target.instance_id, 'e', to_jsonb(target.n));
		EXCEPTION WHEN SQLSTATE 'OD002' THEN NULL;
		END;
	END LOOP;
END $$]);
my $live = q[SELECT instance_id, owner::regrole, name, runtime_status, last_updated_time FROM durable.instances WHERE completed_time IS NULL];
# However slow the machine: it is over when nothing at all has happened for long enough.
my ($left, $work, $before) = (1, '', '');
my $deadline;
while ($left > 0)
{
	($left, $work) = split /\|/, $node->safe_psql('postgres', "SELECT count(*), (SELECT sum(turns + activities + batches) FROM durable.stats) FROM ($live) i");
	$deadline = time + 20 * $PostgreSQL::Test::Utils::timeout_default / 180 if $work ne $before;
	$before = $work;
	last if time > $deadline;
	usleep(200_000);
}
is($left, 0, 'all end')
	or diag($node->safe_psql('postgres', "$live ORDER BY last_updated_time LIMIT 10; SELECT * FROM durable.workers; SELECT * FROM durable_internal.queues()"));
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable_internal.tasks]), 0, 'no queued activity is left');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable_internal.messages]), 0, 'no message');
is($node->safe_psql('postgres', q[SELECT * FROM durable_internal.violations]), '', 'no invariant is broken');

# The longest time in which nothing happened to an instance that waited for the engine only: a worker that could not start is replaced after 5 s.
my $gaps = q[SELECT max(gap) FROM (SELECT i.name, lag(event_type) OVER own AS before, event_time - lag(event_time) OVER own AS gap
	FROM durable.history JOIN durable.instances i USING (instance_id) WINDOW own AS (PARTITION BY instance_id ORDER BY sequence_number)) h
	WHERE name NOT IN ('events', 'parent') AND before <> 'ExecutionFailed'];
diag($node->safe_psql('postgres', qq[SELECT 'instances: ' || count(*) || ', failed: ' || count(*) FILTER (WHERE runtime_status = 'Failed') || ', longest pause: ' || ($gaps)
	FROM durable.instances]));
diag($node->safe_psql('postgres', q[SELECT string_agg(what || ' ' || state || ': ' || count, ', ' ORDER BY what, state) FROM (SELECT what, state, count(*) FROM strikes GROUP BY 1, 2) s]));
$node->stop;
done_testing();
