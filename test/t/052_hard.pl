# Hard conditions: workers cancelled or terminated, no processes left, the extension or the database taken away under
# load, databases copied and renamed, a standby that is promoted.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $functions = q[
CREATE TABLE effects (instance_id text, task_id int, PRIMARY KEY (instance_id, task_id));
CREATE TABLE stuck (yes boolean);
INSERT INTO stuck VALUES (true);
CREATE FUNCTION effect() RETURNS void LANGUAGE sql AS 'INSERT INTO effects VALUES (durable.instance_id(), durable.task_id())';
CREATE FUNCTION hang() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM effect();
	IF (SELECT yes FROM stuck) THEN
		PERFORM pg_sleep(600);
	END IF;
END $$;
CREATE FUNCTION call_hang() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('hang'); END $$;
CREATE FUNCTION chain(pause interval DEFAULT '10 ms') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect');
	PERFORM durable.when_all(durable.schedule_activity('effect'), durable.schedule_activity('effect'), durable.create_timer(pause));
	PERFORM durable.call_activity('effect');
	RETURN current_database();
END $$;
CREATE FUNCTION await() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect');
	RETURN durable.wait_for_external_event('e');
END $$;
];
my $all_done = q[SELECT count(*) > 0 AND bool_and(runtime_status = 'Completed') FROM durable.instances];
# Each instance of chain has had its four effects, each of await one.
my $effects_right = q[SELECT bool_and((SELECT count(*) FROM effects e WHERE e.instance_id = i.instance_id)
	= CASE name WHEN 'chain' THEN 4 ELSE 1 END) FROM durable.instances i];

my $node = durable_node('hard', conf => 'durable.max_workers = 6');
$node->safe_psql('postgres', $functions);

#
# A worker that is stuck: cancelled, its activity fails; terminated, the activity is run again.
#
sub hanging_pid
{
	my ($id) = @_;

	$node->safe_psql('postgres', qq[SELECT durable.start_new('call_hang', instance_id => '$id')]);
	# not where it is tried with patience, which ends in a moment
	my $hangs = q[FROM pg_stat_activity JOIN durable.workers w USING (pid) WHERE w.place = 'long' AND query = 'hang' AND wait_event = 'PgSleep'];
	poll_until($node, "SELECT count(*) = 1 $hangs", "$id hangs");
	return $node->safe_psql('postgres', "SELECT pid $hangs");
}

my $pid = hanging_pid('cancelled');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
poll_until($node, q[SELECT runtime_status = 'Failed' AND failure->>'sqlstate' = '57014' AND failure->>'activity' = 'hang' FROM durable.get_status('cancelled')],
	'a cancelled activity fails');
is($node->safe_psql('postgres', qq[SELECT count(*) FROM pg_stat_activity WHERE pid = $pid]), 1, 'its worker goes on');
$pid = hanging_pid('terminated');
$node->safe_psql('postgres', qq[UPDATE stuck SET yes = false; SELECT pg_terminate_backend($pid)]);
poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('terminated')], 'the activity of a terminated worker is run again');
is($node->safe_psql('postgres', q[SELECT instance_id, count(*) FROM effects GROUP BY 1]), 'terminated|1', 'what did not complete left nothing');

# Cancelling processes that run nobody's code does no harm.
$node->safe_psql('postgres', q[SELECT durable.start_new('chain', instance_id => 'c' || i) FROM generate_series(1, 100) i]);
for (1 .. 20)
{
	$node->safe_psql('postgres', q[SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('durable launcher', 'durable scheduler')]);
}
poll_until($node, q[SELECT bool_and(runtime_status = 'Completed') FROM durable.instances WHERE name = 'chain'], 'cancelling the launcher and the scheduler does no harm');
is($node->safe_psql('postgres', q[SELECT count(*) FROM effects WHERE instance_id LIKE 'c%']), 400, 'each effect once');

#
# The extension goes and comes under load.
#
for my $round (1 .. 3)
{
	$node->safe_psql('postgres', q[SELECT durable.start_new('chain', '"1 s"') FROM generate_series(1, 200)]);
	$node->safe_psql('postgres', "BEGIN; DROP EXTENSION durable; ROLLBACK") if $round == 1;
	$node->safe_psql('postgres', 'DROP EXTENSION durable');
	$node->safe_psql('postgres', 'CREATE EXTENSION durable');
	$node->safe_psql('postgres', q[TRUNCATE effects; SELECT durable.start_new('chain') FROM generate_series(1, 20)]);
}
poll_until($node, $all_done, 'DROP and CREATE EXTENSION under load');
is($node->safe_psql('postgres', $effects_right), 't', 'each effect once');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable_internal.violations]), 0, 'no invariant is broken');

#
# Databases: two at once, one renamed, copied and dropped under load.
#
for my $db ('one', 'two')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, "CREATE EXTENSION durable; $functions");
	$node->safe_psql($db, q[SELECT durable.start_new('chain', instance_id => 'same-' || i) FROM generate_series(1, 50) i;
		SELECT durable.start_new('await', instance_id => 'waits'), durable.start_new('chain', '"3 s"', 'sleeps')]);
}
for my $db ('one', 'two')
{
	poll_until($node, q[SELECT count(*) = 50 FROM durable.instances WHERE instance_id LIKE 'same-%' AND runtime_status = 'Completed' AND output = to_jsonb(current_database()::text)],
		"database $db runs its own", 't', $db);
}
$node->safe_psql('one', q[SELECT durable.start_new('chain') FROM generate_series(1, 100)]);
$node->safe_psql('postgres', 'ALTER DATABASE one RENAME TO renamed');
$node->safe_psql('renamed', q[SELECT durable.start_new('chain') FROM generate_series(1, 100)]);
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE renamed');
$node->safe_psql($_, q[SELECT durable.raise_event('waits', 'e')]) for 'renamed', 'copy';
for my $db ('renamed', 'copy')
{
	poll_until($node, $all_done, "$db: everything completes", 't', $db);
	is($node->safe_psql($db, $effects_right), 't', "$db: each effect once");
	is($node->safe_psql($db, q[SELECT count(*) FROM durable_internal.violations]), 0, "$db: no invariant is broken");
}
$node->safe_psql('two', q[SELECT durable.start_new('chain', '"0.01 s"') FROM generate_series(1, 300)]);
$node->safe_psql('postgres', "DROP DATABASE $_") for 'two', 'renamed', 'copy';
poll_until($node, q[SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'durable scheduler'], 'dropped databases have no scheduler');
unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal|XX000/, 'nothing has crashed');
$node->stop;

#
# No processes left.  The launcher, the scheduler and the server's own logical replication launcher take three.
#
my $small = durable_node('small', conf => "max_worker_processes = 3\nmax_parallel_workers = 0");
$small->safe_psql('postgres', $functions . q[SELECT durable.start_new('chain', instance_id => 'waits-for-a-process')]);
ok($small->poll_query_until('postgres', q[SELECT count(*) > 0 FROM regexp_matches(pg_read_file('] . server_log($small) . q['), 'max_worker_processes')]),
	'the log says that max_worker_processes is too low');
is($small->safe_psql('postgres', q[SELECT runtime_status FROM durable.get_status('waits-for-a-process')]), 'Pending', 'work waits');
$small->append_conf('postgresql.conf', 'max_worker_processes = 4');
$small->restart;
poll_until($small, $all_done, 'and goes on when there is one');
# One worker for three roles.
$small->safe_psql('postgres', qq[CREATE ROLE $_ LOGIN; SELECT durable.grant_usage('$_'); GRANT ALL ON effects TO $_; SET ROLE $_;
	SELECT durable.start_new('chain') FROM generate_series(1, 10)]) for 'a', 'b', 'c';
poll_until($small, $all_done, 'one process serves three roles');
is($small->safe_psql('postgres', $effects_right), 't', 'each effect once');
$small->stop;

#
# A standby: nothing runs there until it is promoted; then everything goes on.
#
my $primary = durable_node('primary', init => [ allows_streaming => 1 ]);
$primary->safe_psql('postgres', $functions);
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', q[SELECT durable.start_new('await', instance_id => 'waits'), durable.start_new('chain', '"2 s"', 'sleeps');
	SELECT durable.start_new('chain', instance_id => 'c' || i) FROM generate_series(1, 50) i]);
poll_until($primary, q[SELECT count(*) = 50 FROM durable.instances WHERE runtime_status = 'Completed'], 'instances complete on the primary');
$primary->safe_psql('postgres', q[SELECT durable.start_new('chain') FROM generate_series(1, 50) i]);
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q[SELECT runtime_status FROM durable.get_status('waits')]), 'Running', 'the standby can be read');
is($standby->safe_psql('postgres', q[SELECT sum(count) FROM durable.count_instances()]), 102, 'and counted');
my ($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT durable.start_new('chain')");
like($err, qr/25006/, 'but not written');
is($standby->safe_psql('postgres', q[SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'durable%']), 0, 'nothing runs there');
$primary->stop('immediate');
$standby->promote;
$standby->safe_psql('postgres', q[SELECT durable.raise_event('waits', 'e', '1')]);
poll_until($standby, $all_done, 'after its promotion everything completes');
is($standby->safe_psql('postgres', $effects_right), 't', 'each effect once');
is($standby->safe_psql('postgres', q[SELECT count(*) FROM durable_internal.violations]), 0, 'no invariant is broken');
$standby->stop;

done_testing();
