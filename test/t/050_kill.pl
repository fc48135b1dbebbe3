# The kill campaign: a mixed workload of two roles, and every process of the server killed at random, over and over.
# Afterwards nothing is lost and nothing was done twice.  DURABLE_KILLS sets the number of kills, DURABLE_SEED the seed
# of what is killed when.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use DurableTest;

my $kills = $ENV{DURABLE_KILLS} // 30;
my $seed = $ENV{DURABLE_SEED} // int(rand(1_000_000));
my %killed;

srand($seed);
diag("seed $seed, $kills kills");

# Workers are killed on purpose, so many deliveries of one activity are no sign of a crash.
my $node = durable_node('kill', conf => q(
durable.max_activity_deliveries = 1000
durable.worker_idle_timeout = 1
log_min_messages = log
));

$node->safe_psql('postgres', q[
CREATE ROLE one LOGIN;
CREATE ROLE two LOGIN;
SELECT durable.grant_usage('one'), durable.grant_usage('two');

-- What was started, in the transactions that started it, and how many effects an instance of a kind has once completed.
CREATE TABLE started (id text PRIMARY KEY, kind text NOT NULL, terminable boolean NOT NULL, events int NOT NULL DEFAULT 0);
CREATE TABLE raised (id text, n int, PRIMARY KEY (id, n));
CREATE TABLE purged (id text PRIMARY KEY, count int);
CREATE TABLE kinds (kind text PRIMARY KEY, effects int);
INSERT INTO kinds VALUES ('chain', 5), ('fan', 8), ('timers', 3), ('events', 3), ('parent', 2), ('eternal', 8), ('retries', 3),
	('doomed', 2), ('doomed_parent', 1), ('statements', 3), ('sums', 3), ('contends', 2), ('sleeper', 1);
-- Exactly once: a second effect of an activity is an error, a missing one is counted.
CREATE TABLE effects (instance_id text, task_id int, PRIMARY KEY (instance_id, task_id));
CREATE TABLE world (mended boolean);
INSERT INTO world VALUES (false);
GRANT ALL ON ALL TABLES IN SCHEMA public TO one, two;

CREATE FUNCTION effect(seconds float8) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.effects VALUES (durable.instance_id(), durable.task_id());
	IF seconds > 0 THEN
		PERFORM pg_sleep(seconds);
	END IF;
	RETURN durable.task_id();
END $$;
CREATE FUNCTION effect_at_third() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.effects VALUES (durable.instance_id(), durable.task_id());
	IF durable.attempt() < 3 THEN
		RAISE EXCEPTION 'not yet';
	END IF;
	RETURN durable.attempt();
END $$;
CREATE FUNCTION effect_by_luck() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.effects VALUES (durable.instance_id(), durable.task_id());
	IF random() < 0.6 AND NOT (SELECT mended FROM public.world) THEN
		RAISE EXCEPTION 'bad luck';
	END IF;
END $$;

CREATE FUNCTION chain() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 5 LOOP
		PERFORM durable.call_activity('effect', CASE i WHEN 3 THEN '0.05'::jsonb END);
	END LOOP;
	RETURN 5;
END $$;
CREATE FUNCTION fan() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RETURN cardinality(durable.when_all(VARIADIC ARRAY(
		SELECT durable.schedule_activity('effect', to_jsonb(0.01 * i)) FROM generate_series(1, 8) i)));
END $$;
CREATE FUNCTION timers() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		PERFORM durable.sleep(i * '100 ms'::interval);
		PERFORM durable.call_activity('effect');
	END LOOP;
END $$;
CREATE FUNCTION events() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	got jsonb := '[]';
BEGIN
	FOR i IN 1 .. 3 LOOP
		got := got || durable.wait_for_external_event('e');
		PERFORM durable.call_activity('effect');
	END LOOP;
	RETURN got;
END $$;
CREATE FUNCTION parent() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	a durable.task := durable.schedule_sub_orchestrator('chain');
	b durable.task := durable.schedule_sub_orchestrator('timers');
BEGIN
	PERFORM durable.call_activity('effect');
	PERFORM durable.when_all(a, b);
	PERFORM durable.call_activity('effect');
END $$;
CREATE FUNCTION eternal(n int DEFAULT 1) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect');
	PERFORM durable.sleep('20 ms');
	PERFORM durable.call_activity('effect');
	IF n < 4 THEN
		PERFORM durable.continue_as_new(to_jsonb(n + 1));
	END IF;
	RETURN n;
END $$;
CREATE FUNCTION retries() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	policy durable.retry_policy := durable.retry_policy(max_attempts => 3, first_interval => '50 ms');
BEGIN
	FOR i IN 1 .. 3 LOOP
		PERFORM durable.call_activity('effect_at_third', retry => policy);
	END LOOP;
END $$;
CREATE FUNCTION doomed() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect_by_luck');
	PERFORM durable.call_activity('effect_by_luck');
END $$;
CREATE FUNCTION doomed_parent() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect');
	PERFORM durable.call_sub_orchestrator('doomed');
END $$;
CREATE FUNCTION statements() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		PERFORM durable.call_sql('INSERT INTO public.effects VALUES (durable.instance_id(), durable.task_id())');
	END LOOP;
END $$;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
CREATE FUNCTION sums() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	total bigint := 0;
BEGIN
	FOR i IN 1 .. 3 LOOP
		FOR j IN 1 .. 100 LOOP
			total := total + durable.call_activity('twice', to_jsonb(j))::int;
		END LOOP;
		SELECT total + sum(r::int) INTO total
		  FROM unnest(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('twice', to_jsonb(j)) FROM generate_series(1, 100) j))) r;
		PERFORM durable.call_activity('effect');
	END LOOP;
	ASSERT total = 3 * 2 * 100 * 101;
	RETURN total;
END $$;
-- An operator holds the id of the child for a while.
CREATE FUNCTION contends() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect');
	PERFORM durable.sleep('100 ms');
	PERFORM durable.call_sub_orchestrator('chain', instance_id => 'held-' || durable.instance_id());
	PERFORM durable.call_activity('effect');
END $$;
CREATE FUNCTION sleeper() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect');
	PERFORM durable.sleep('1 year');
END $$;

CREATE FUNCTION submit(role name, count int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	INSERT INTO started
	SELECT durable.start_new(kind), kind, kind <> 'events' AND random() < 0.2 FROM kinds, generate_series(1, count);
END $$;

-- What operators and applications do to instances, at random.
CREATE PROCEDURE operate(steps int) LANGUAGE plpgsql AS $$
DECLARE
	target record;
	choice int;
BEGIN
	FOR i IN 1 .. steps LOOP
		choice := random() * 9;
		BEGIN
			IF choice = 3 THEN
				PERFORM durable.start_new('chain', instance_id => 'held-' || id)
				   FROM (SELECT id FROM started s
				          WHERE kind = 'contends' AND NOT EXISTS (SELECT FROM durable.instances i WHERE i.instance_id = 'held-' || id)
				          ORDER BY random() LIMIT 3) s;
				PERFORM pg_sleep(random() * 0.3);
				RAISE SQLSTATE 'OD000';
			ELSIF choice < 4 THEN
				SELECT id, events + 1 AS n INTO target FROM started WHERE kind = 'events' AND events < 3
				 ORDER BY random() LIMIT 1 FOR UPDATE;
				UPDATE started SET events = target.n WHERE id = target.id;
				INSERT INTO raised VALUES (target.id, target.n);
				PERFORM durable.raise_event(target.id, 'e', to_jsonb(target.n));
			ELSE
				SELECT s.id, s.terminable, i.runtime_status INTO target
				  FROM started s JOIN durable.instances i ON i.instance_id = s.id
				 WHERE CASE choice WHEN 4 THEN s.terminable AND i.runtime_status IN ('Pending', 'Running', 'Suspended')
				                   WHEN 5 THEN i.runtime_status IN ('Pending', 'Running')
				                   WHEN 6 THEN i.runtime_status = 'Suspended'
				                   WHEN 7 THEN i.runtime_status = 'Completed' AND s.kind IN ('chain', 'parent')
				                   ELSE i.runtime_status = 'Failed' END
				 ORDER BY random() LIMIT 1;
				CASE
					WHEN target.id IS NULL THEN NULL;
					WHEN choice = 4 THEN PERFORM durable.terminate(target.id, 'not wanted', cancel_activities => random() < 0.5);
					WHEN choice = 5 THEN PERFORM durable.suspend(target.id);
					WHEN choice = 6 THEN PERFORM durable.resume(target.id);
					WHEN choice = 7 THEN INSERT INTO purged SELECT target.id, durable.purge_instance_history(target.id);
					ELSE PERFORM durable.rewind(target.id);
				END CASE;
			END IF;
		EXCEPTION WHEN SQLSTATE 'OD000' OR SQLSTATE 'OD001' OR SQLSTATE 'OD002' OR SQLSTATE 'OD003' OR null_value_not_allowed OR not_null_violation OR unique_violation THEN
			NULL;
		END;
		COMMIT;
		PERFORM pg_sleep(random() * 0.02);
	END LOOP;
END $$;
]);

# What a query returns, undef if it fails.  Other than Cluster's psql it does not mind a server that goes away as psql starts.
sub query
{
	my ($sql) = @_;

	IPC::Run::run([ 'psql', '-XAtq', '-c', $sql, $node->connstr('postgres') ], '<', \undef, '>', \my $out, '2>', \my $err)
	  or return undef;
	chomp $out;
	return $out;
}

# Waits until the server takes connections.
sub wait_for_server
{
	for (1 .. 1000)
	{
		return if defined query('SELECT 1');
		usleep(50_000);
	}
	BAIL_OUT("the server did not come back, seed $seed");
}

# Starts the server where another one has just ended, as soon as the last of its children has noticed.
sub start_again
{
	my ($pid) = @_;
	my $data = $node->data_dir;

	for (1 .. 1000)
	{
		last unless -e "/proc/$pid" || grep { (readlink($_) // '') eq $data } glob('/proc/[0-9]*/cwd');
		usleep(20_000);
	}
	$node->start;
	return;
}

# Kills something; false if there was nothing of that kind to kill.
sub strike
{
	my ($what) = @_;
	my ($type, $signal) = split / /, $what;

	if ($type eq 'postmaster')
	{
		my $pid = $node->{_pid};

		$node->kill9;
		start_again($pid);
		return 1;
	}
	if ($type eq 'server')
	{
		$node->stop('immediate');
		$node->start;
		return 1;
	}
	my $backend = $type eq 'client' ? q[application_name = 'operator'] : qq[backend_type = 'durable $type'];
	my $pid = query("SELECT pid FROM pg_stat_activity WHERE $backend ORDER BY random() LIMIT 1");
	return 0 unless $pid;
	return kill $signal, $pid;
}

my @weapons = (('worker KILL') x 4, ('scheduler KILL') x 2, 'launcher KILL', 'client KILL', 'postmaster', 'server',
	('worker TERM') x 3, 'scheduler TERM', 'launcher TERM', 'client TERM');

# One for each kind of victim first, so that each comes up in short campaigns.
my %seen;
my @plan = grep { !$seen{$_}++ } @weapons;
@plan = sort { rand() <=> 0.5 } @plan;
push @plan, $weapons[rand @weapons] while @plan < $kills;
splice @plan, $kills;

for my $weapon (@plan)
{
	my $role = rand() < 0.5 ? 'one' : 'two';

	wait_for_server();
	# either may be cut off by what earlier strikes still do
	query("SELECT submit('$role', 2)");
	my $operator = IPC::Run::start(
		[ 'psql', '-XAtq', '-c', 'CALL operate(100)',
			$node->connstr('postgres') . q( application_name=operator) ],
		'<', \undef, '>', \my $out, '2>', \my $err);
	usleep(rand(800_000));
	my $deadline = time + 5;
	until (strike($weapon))
	{
		last if time > $deadline;
		usleep(20_000);
	}
	$killed{$weapon}++ if time <= $deadline;
	$operator->finish;
}
my $killed = 0;
$killed += $_ for values %killed;
diag(join(', ', map { "$_: $killed{$_}" } sort keys %killed));
cmp_ok($killed, '>=', $kills * 0.9, 'kills');

# Let everything that can go on go on.
wait_for_server();
$node->safe_psql('postgres', q[
UPDATE world SET mended = true;
SELECT durable.resume(instance_id) FROM durable.instances WHERE runtime_status = 'Suspended';
INSERT INTO raised SELECT id, n FROM started, generate_series(events + 1, 3) n WHERE kind = 'events' ORDER BY id, n;
SELECT durable.raise_event(id, 'e', to_jsonb(n)) FROM (SELECT id, n FROM started, generate_series(events + 1, 3) n WHERE kind = 'events' ORDER BY id, n) e;
UPDATE started SET events = 3 WHERE kind = 'events';
]);

# Those that have failed by now, of doomed kinds only, are rewound until they complete.
my $ended = q[NOT EXISTS (SELECT FROM durable.instances
	WHERE runtime_status IN ('Pending', 'Running', 'Suspended') AND NOT (name = 'sleeper' AND instance_id IN (SELECT instance_id FROM durable.timers)))];
for (1 .. 5)
{
	last unless $node->poll_query_until('postgres', "SELECT $ended");
	last unless $node->safe_psql('postgres', q[SELECT count(durable.rewind(instance_id)) FROM durable.instances
		WHERE runtime_status = 'Failed' AND parent_instance_id IS NULL AND name LIKE 'doomed%']);
}
my $what = q[instance_id, name, runtime_status, failure FROM durable.instances];
is($node->safe_psql('postgres', qq[SELECT $what WHERE runtime_status IN ('Pending', 'Running', 'Suspended') AND name <> 'sleeper' ORDER BY 1 LIMIT 10]),
	'', 'all have ended');
# one whose parent was terminated just before it heard of the failure may stay as it is
is($node->safe_psql('postgres', qq[SELECT $what i WHERE runtime_status = 'Failed' AND NOT (name = 'doomed' AND
	EXISTS (SELECT FROM durable.instances p WHERE p.instance_id = i.parent_instance_id AND p.runtime_status = 'Terminated')) ORDER BY 1 LIMIT 10]),
	'', 'none has failed') or diag($node->safe_psql('postgres', q[
	SELECT i.instance_id, p.runtime_status AS parent, h.sequence_number, h.event_type, h.event_time, h.task_id, h.result, h.failure->>'message'
	  FROM durable.instances i LEFT JOIN durable.instances p ON p.instance_id = i.parent_instance_id JOIN durable.history h ON h.instance_id = i.instance_id
	 WHERE i.runtime_status = 'Failed' AND i.name <> 'doomed' ORDER BY 1, 3 LIMIT 40]));
is($node->safe_psql('postgres', q[SELECT id FROM started s FULL JOIN (SELECT * FROM durable.instances WHERE parent_instance_id IS NULL) i ON instance_id = id
	WHERE (id IS NULL OR instance_id IS NULL) AND id NOT IN (SELECT id FROM purged)
	   OR instance_id IN (SELECT id FROM purged WHERE count > 0)]),
	'', 'those and only those exist whose transaction committed');

# Exactly once.
is($node->safe_psql('postgres', q[
SELECT i.instance_id, i.name, e.count
  FROM durable.instances i JOIN kinds k ON k.kind = i.name,
       LATERAL (SELECT count(*) FROM effects e WHERE e.instance_id = i.instance_id) e
 WHERE i.runtime_status = 'Completed' AND e.count <> k.effects
    OR i.runtime_status = 'Terminated' AND e.count > k.effects
    OR i.name = 'sleeper' AND i.runtime_status = 'Running' AND e.count <> 1
 ORDER BY 1 LIMIT 10]), '', 'each activity has had its effect once');
is($node->safe_psql('postgres', q[SELECT id, (SELECT count(*) FROM effects WHERE instance_id = id) FROM purged JOIN started USING (id) JOIN kinds USING (kind)
	WHERE effects <> (SELECT count(*) FROM effects WHERE instance_id = id)]), '', 'also in those that were purged');
is($node->safe_psql('postgres', q[SELECT instance_id, output FROM durable.instances WHERE name = 'events' AND output <> '[1, 2, 3]']), '',
	'each event was taken once, in order');

# Histories, queues and invariants.
is($node->safe_psql('postgres', q[
SELECT instance_id FROM durable.history GROUP BY instance_id, execution_id
HAVING count(*) <> max(sequence_number) OR min(sequence_number) <> 1 OR count(DISTINCT sequence_number) <> count(*) LIMIT 10]), '',
	'histories have no gaps');
is($node->safe_psql('postgres', q[
SELECT instance_id, task_id FROM durable.history WHERE event_type IN ('TaskCompleted', 'TaskFailed') AND instance_id NOT IN
	(SELECT instance_id FROM durable.instances WHERE name LIKE 'doomed%')
 GROUP BY 1, 2 HAVING count(*) > 1 LIMIT 10]), '', 'and each activity ends once in them');
poll_until($node, q[SELECT count(*) = 0 FROM durable_internal.messages], 'no messages are left');
poll_until($node, q[SELECT count(*) = 0 FROM durable_internal.tasks], 'no tasks');
is($node->safe_psql('postgres', q[SELECT t.instance_id FROM durable.timers t JOIN durable.instances i USING (instance_id) WHERE i.name <> 'sleeper']), '',
	'no timers but those of sleepers');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations LIMIT 10'), '', 'no invariant is broken');

# The engine goes on.
$node->safe_psql('postgres', q[SELECT durable.start_new('chain', instance_id => 'last')]);
poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('last')], 'the next one completes');
unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal 1?[1-8]\b|XX000/, 'no process has crashed by itself');

$node->stop;
done_testing();
