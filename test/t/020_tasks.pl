# Tasks and time over restarts: timers, retries and open fan-outs; thousands of timers due at once; a fan-out of 10,000 over
# the workers; log() speaks once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('tasks');

$node->safe_psql('postgres', q[
CREATE TABLE pids (pid int, n int);
CREATE SEQUENCE attempts;
CREATE FUNCTION double(n int) RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO pids VALUES (pg_backend_pid(), n); RETURN 2 * n; END$$;
CREATE FUNCTION flaky(good_at int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('attempts') < good_at THEN
		RAISE EXCEPTION 'not yet';
	END IF;
	RETURN currval('attempts');
END $$;
CREATE FUNCTION sleeper(ms int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	start timestamptz := durable.now();
BEGIN
	PERFORM durable.log('log', 'sleeper ' || durable.instance_id() || ' begins');
	PERFORM durable.sleep(ms * interval '1 ms');
	PERFORM durable.log('log', 'sleeper ' || durable.instance_id() || ' woke');
	RETURN CASE WHEN durable.now() >= start + ms * interval '1 ms' THEN 'late enough' ELSE 'too early' END;
END $$;
CREATE FUNCTION until(at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.sleep_until(at);
	RETURN CASE WHEN durable.now() >= at THEN 'late enough' ELSE 'too early' END;
END $$;
CREATE FUNCTION patient() RETURNS jsonb LANGUAGE sql AS $$SELECT durable.call_activity('flaky', '3', durable.retry_policy(5, '1500 ms'))$$;
CREATE FUNCTION fan_out(n int, timeout interval DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(r::bigint)
	  FROM unnest(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('double', to_jsonb(i), timeout => timeout) FROM generate_series(1, n) i))) r
$$;
CREATE FUNCTION half(n int) RETURNS int LANGUAGE sql AS 'SELECT n / 2';
CREATE FUNCTION asks(times int, n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	tasks durable.task[];
BEGIN
	FOR i IN 1 .. times LOOP
		tasks := ARRAY(SELECT durable.schedule_activity('half', to_jsonb(j)) FROM generate_series(1, n) j);
		PERFORM durable.log('log', format('has asked %s.', i));
		PERFORM durable.when_all(VARIADIC tasks);
	END LOOP;
END $$;
CREATE FUNCTION many_timers(n int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	at timestamptz := durable.now() + interval '1 s';
BEGIN
	RETURN cardinality(durable.when_all(VARIADIC ARRAY(SELECT durable.create_timer(at) FROM generate_series(1, n))));
END $$;
CREATE FUNCTION years() RETURNS text LANGUAGE sql AS $$SELECT durable.sleep('10000 years')::text$$;
]);

# Timers in the past, in years, and due while the server is down; a pause between attempts likewise.
$node->safe_psql('postgres', q[
SELECT durable.start_new('sleeper', '2000', 'due-while-down'), durable.start_new('until', '"2000-01-01"', 'past'),
       durable.start_new('years', NULL, 'years'), durable.start_new('patient', NULL, 'patient'), durable.start_new('sleeper', '6000', 'due-later');
]);
poll_until($node, q[SELECT count(*) = 4 FROM durable.timers], 'the timers are set');
is($node->safe_psql('postgres', q[SELECT fire_at > now() + interval '9999 years' FROM durable.timers WHERE instance_id = 'years']),
	't', 'one of 10,000 years');
poll_until($node, q[SELECT (durable.get_status('past')).output = '"late enough"'], 'one in the past is due at once');
$node->stop('fast');
ok(!-e $node->data_dir . '/postmaster.pid', 'the server is down');
# not due before, due when the server is back
sleep(2);
$node->start;
poll_until($node, q[SELECT (durable.get_status('due-while-down')).output = '"late enough"'], 'a timer that came due while the server was down');
poll_until($node, q[SELECT (durable.get_status('patient')).output = '3'], 'a pause between attempts survives a restart');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.history WHERE instance_id = 'patient' AND event_type = 'TaskRetried']), 2, 'with its attempts');
$node->stop('immediate');
$node->start;
poll_until($node, q[SELECT (durable.get_status('due-later')).output = '"late enough"'], 'a timer survives a crash');
my $log = slurp_file($node->logfile);
for my $message ('sleeper due-later begins', 'sleeper due-later woke', 'sleeper due-while-down begins')
{
	my @said = $log =~ /LOG:  \Q$message\E$/mg;
	is(scalar @said, 1, "log() says once: $message");
}
is($node->safe_psql('postgres', q[SELECT runtime_status FROM durable.get_status('years')]), 'Running', 'years go on');
$node->safe_psql('postgres', q[SELECT durable.terminate('years')]);

# Thousands due at once: of one instance, and of as many.
$node->safe_psql('postgres', q[
SELECT durable.start_new('many_timers', '3000', 'many-timers');
SELECT count(durable.start_new('until', to_jsonb(now() + interval '2 s'), 'due-' || i)) FROM generate_series(1, 2000) i;
]);
poll_until($node, q[SELECT (durable.get_status('many-timers')).output = '3000'], '3,000 timers of one instance at once');
poll_until($node, q[SELECT count(*) = 2000 FROM durable.instances WHERE name = 'until' AND instance_id LIKE 'due-%' AND output = '"late enough"'],
	'2,000 instances due at once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable.timers'), 0, 'no timer is left');

# Most memory that a worker has used so far, in MB.
sub worker_memory
{
	my $most = 0;

	for my $pid (split /\n/, $node->safe_psql('postgres', q[SELECT pid FROM durable.workers WHERE pid IS NOT NULL]))
	{
		my $status = -e "/proc/$pid/status" ? slurp_file("/proc/$pid/status") : '';
		my ($anon) = $status =~ /^RssAnon:\s+(\d+) kB/m;
		$most = $anon if defined $anon && $anon > $most;
	}
	return int($most / 1024);
}

# What an orchestrator logs after it has asked for a fan-out is logged once.
my $offset = -s $node->logfile;
$node->safe_psql('postgres', q(SELECT durable.start_new('asks', '[20, 1000]', 'asks')));
poll_until($node, q[SELECT (durable.get_status('asks')).runtime_status = 'Completed'], 'many fan-outs of one instance');
my @asked = slurp_file($node->logfile, $offset) =~ /has asked (\d+)\./g;
is("@asked", join(' ', 1 .. 20), 'each is logged once');

# A fan-out of 10,000, interrupted by a crash, then, as those with a timeout go through the queue, spread over workers; each
# activity's effects once.
$node->safe_psql('postgres', q(SELECT durable.start_new('fan_out', '{"n": 10000}', 'fan-out')));
poll_until($node, q[SELECT count(*) >= 500 FROM pids], 'a fan-out of 10,000 is under way');
$node->stop('immediate');
$node->start;
poll_until($node, q[SELECT (durable.get_status('fan-out')).output = '100010000'], 'it completes after a crash');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n) FROM pids'), '10000|10000', 'each activity has had its effect once');
$node->safe_psql('postgres', 'TRUNCATE pids');
$node->safe_psql('postgres', q(SELECT durable.start_new('fan_out', '{"n": 10000, "timeout": "1 h"}', 'fan-out-2')));
poll_until($node, q[SELECT (durable.get_status('fan-out-2')).output = '100010000'], 'another fan-out of 10,000');
my ($workers, $least) = split /\|/, $node->safe_psql('postgres', 'SELECT count(*), min(n) FROM (SELECT count(*) AS n FROM pids GROUP BY pid) s');
cmp_ok($workers, '>', 1, "was spread over workers ($workers, the least busy one ran $least)");
my $memory = worker_memory();
cmp_ok($memory, '<', 100, "a worker uses less than 100 MB ($memory MB)");
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

done_testing();
