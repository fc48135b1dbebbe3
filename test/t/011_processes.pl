# The engine's processes: what they are called, when they come and go, and what happens when there is no room for them.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('processes', conf => "durable.worker_idle_timeout = 1h\nlog_min_messages = log", extension => 0);

# How many schedulers and workers there are in a database.
sub processes
{
	my ($database) = @_;
	return "SELECT count(*) FILTER (WHERE backend_type = 'durable scheduler'), count(*) FILTER (WHERE backend_type = 'durable worker') > 0
	  FROM pg_stat_activity WHERE datname = '$database'";
}

# How many workers there are in a database; without any its scheduler leaves soon as well.
sub workers
{
	my ($database) = @_;
	return "SELECT count(*) FROM pg_stat_activity WHERE datname = '$database' AND backend_type = 'durable worker'";
}

# Starts an instance and asserts that it completes.
sub completes
{
	my ($database, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $id = $node->safe_psql($database, q(SELECT durable.start_new('answer')));
	is($node->safe_psql($database, "SELECT runtime_status, output FROM durable.wait_for_completion('$id', '1 min')"),
		'Completed|42', $what);
}

my $setup = q(CREATE EXTENSION durable; CREATE FUNCTION answer() RETURNS int LANGUAGE plpgsql AS
	$$ BEGIN PERFORM durable.sleep('1 ms'); RETURN durable.call_activity('activity'); END $$;
	CREATE FUNCTION activity() RETURNS int LANGUAGE sql AS 'SELECT 42');

# Only the launcher, until the extension comes; then a scheduler, without a restart; then a worker, with the first work.
poll_until($node, q(SELECT string_agg(DISTINCT backend_type, ',') FROM pg_stat_activity WHERE backend_type LIKE 'durable%'),
	'only a launcher without the extension', 'durable launcher');
$node->safe_psql('postgres', "BEGIN; $setup; ROLLBACK");
$node->safe_psql('postgres', $setup);
poll_until($node, processes('postgres'), 'CREATE EXTENSION starts a scheduler', '1|f');
completes('postgres', 'the engine runs at once');
is($node->safe_psql('postgres', processes('postgres')), '1|t', 'and a worker is there');
is( $node->safe_psql(
		'postgres', q(
		SELECT DISTINCT backend_type, application_name, datname, usename = current_user
		  FROM pg_stat_activity WHERE backend_type LIKE 'durable%' ORDER BY 1)),
	"durable launcher|durable launcher||t\ndurable scheduler|durable scheduler|postgres|t\ndurable worker|durable worker|postgres|t",
	'what pg_stat_activity shows of them');
is( $node->safe_psql('postgres',
		q(SELECT count(*) > 0, bool_and(a.pid IS NOT NULL AND w.role = a.usename::regrole) FROM durable.workers w LEFT JOIN pg_stat_activity a USING (pid))),
	't|t', 'durable.workers shows the same workers');
# What a worker does is seen while it does it.
$node->safe_psql('postgres', q(
	CREATE FUNCTION look() RETURNS text LANGUAGE sql AS $$ SELECT pg_sleep(1); SELECT query || ' ' || state FROM pg_stat_activity WHERE pid = pg_backend_pid() $$;
	CREATE FUNCTION looks() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('look'); END $$;
	SELECT durable.start_new('looks', instance_id => 'looks')));
poll_until($node, q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'durable worker' AND query ~ 'look' AND state = 'active')),
	'pg_stat_activity shows which activity runs');
is($node->safe_psql('postgres', q(SELECT runtime_status FROM durable.wait_for_completion('looks', '1 min'))), 'Completed', 'it completes');

# Several databases, each with its own; DROP EXTENSION and DROP DATABASE end them.
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach ('second', 'third', 'fourth');
$node->safe_psql($_, $setup) foreach ('second', 'third');
completes($_, "database $_ has an engine") foreach ('second', 'third', 'postgres');
$node->safe_psql('second', 'DROP EXTENSION durable CASCADE');
poll_until($node, processes('second'), 'DROP EXTENSION ends scheduler and workers', '0|f');
$node->safe_psql('second', "DROP FUNCTION answer, activity; $setup");
completes('second', 'and CREATE EXTENSION starts them again');
$node->safe_psql('second', q(SELECT durable.start_new('answer', start_at => now() + '1 h'); BEGIN; DROP EXTENSION durable; ROLLBACK));
completes('second', 'a rolled back DROP EXTENSION does no harm');
my ($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE third');
is($rc, 0, 'DROP DATABASE works although scheduler and workers are connected') or diag($err);
($rc, $out, $err) = $node->psql('postgres', 'CREATE DATABASE copy TEMPLATE second');
is($rc, 0, 'CREATE DATABASE ... TEMPLATE works') or diag($err);
completes('copy', 'and the copy has an engine') if $rc == 0;
completes('second', 'as the original has still');

# Settings by reload: which databases, how long idle workers stay.
$node->append_conf('postgresql.conf', "durable.databases = 'postgres, fourth'");
$node->reload;
poll_until($node, processes('second'), 'a database that durable.databases no longer names has no engine', '0|f');
my $pending = $node->safe_psql('second', q(SELECT durable.start_new('answer')));
completes('postgres', 'one that it names has');
is($node->safe_psql('second', "SELECT runtime_status FROM durable.get_status('$pending')"), 'Pending', 'work waits there');
is($node->safe_psql('second', "SELECT line FROM durable.explain('$pending') line WHERE line ~ 'worker' ORDER BY line"),
	"No worker can run for postgres: the setting durable.databases does not name this database\nWaits for a worker of postgres", 'and durable.explain says why');
is($node->safe_psql('second', 'SELECT coalesce(sum(instances), 0) FROM durable_internal.queues()'), '0', 'and takes no place in the lists of what is ready');
$node->append_conf('postgresql.conf', "durable.databases = ''");
$node->reload;
poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('$pending')", 'and is done when the setting is empty again', 't', 'second');
$node->append_conf('postgresql.conf', 'durable.worker_idle_timeout = 0');
$node->reload;
completes('postgres', 'with durable.worker_idle_timeout = 0');
poll_until($node, workers('postgres'), 'no worker stays', '0');
$node->append_conf('postgresql.conf', 'durable.worker_idle_timeout = 1s');
$node->reload;
completes('postgres', 'with durable.worker_idle_timeout = 1s');
poll_until($node, workers('postgres'), 'workers leave', '0');
# A reload may come while a process is being started, and PostgreSQL ignores its signal then. So a process reads the files
# itself when it begins; here the reload does not come at all.
change_setting($node, 'durable.worker_idle_timeout', '1h');
$node->append_conf('postgresql.conf', 'durable.worker_idle_timeout = 0');
completes('postgres', 'a worker starts after the files have changed');
poll_within($node, 20, workers('postgres'), 'and has read them', '0');
$node->append_conf('postgresql.conf', 'durable.no_such_setting = 1');
$node->reload;
completes('postgres', 'an unknown setting of the prefix does no harm');
$node->adjust_conf('postgresql.conf', 'durable.no_such_setting', undef);

# Without wake-ups everything still happens, by polling. The reload that makes the polls frequent comes while the scheduler
# waits for a lock, where PostgreSQL resets the latch that the signal has set. A short deadlock_timeout would set it again.
$node->append_conf('postgresql.conf', "durable.wakeups = off\ndeadlock_timeout = 10min");
change_setting($node, 'durable.poll_interval', '1h');
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE durable_internal.instances IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', 'CREATE ROLE regress_rouses');
poll_until($node, q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'durable scheduler' AND datname = 'postgres' AND wait_event_type = 'Lock')),
	'the scheduler waits for a lock');
change_setting($node, 'durable.poll_interval', '100ms');
$locker->quit;
$node->safe_psql('postgres', q(
	CREATE FUNCTION everything() RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM durable.sleep('1 ms');
		PERFORM durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('activity') FROM generate_series(1, 20)));
		RETURN durable.call_sub_orchestrator('answer') || durable.wait_for_external_event('e');
	END
	$$));
$node->safe_psql('postgres', q(SELECT durable.start_new('everything', instance_id => 'polled-' || i) FROM generate_series(1, 20) i));
$node->safe_psql('postgres', q(SELECT durable.raise_event('polled-' || i, 'e', '"heard"') FROM generate_series(1, 20) i));
poll_until($node, q(SELECT count(*) = 20 FROM durable.instances WHERE instance_id LIKE 'polled-%' AND output = '[42, "heard"]'),
	'without wake-ups everything completes by polling');
$node->safe_psql('postgres', q(SELECT durable.start_new('answer', start_at => '2999-01-01', instance_id => 'ended')));
$node->safe_psql('postgres', q(SELECT durable.terminate('ended')));
is($node->safe_psql('postgres', q(SELECT runtime_status FROM durable.wait_for_completion('ended', '1 min'))), 'Terminated', 'terminate too');
$node->append_conf('postgresql.conf', "durable.wakeups = on\ndurable.poll_interval = 5s\ndeadlock_timeout = 1s");
$node->reload;

# No room for processes: the log says what to do, and when there is room again the work is done.
my $offset = -s $node->logfile;
# The launcher and that of logical replication leave no room for a scheduler. The log has the query too.
$node->append_conf('postgresql.conf', "max_worker_processes = 2\ndurable.databases = 'second'");
$node->restart;
poll_until($node, q[SELECT pg_read_file('] . server_log($node) . q[') ~ '[c]ould not start the scheduler of database "second"'], 'the log says of which database the scheduler could not be started');
ok(log_has($offset, qr/durable could not start the scheduler.*HINT:  Increase max_worker_processes, or decrease durable.max_workers or durable.max_long_activities/s), 'and which settings would change that');
# They leave room for a scheduler, but not for a worker.
$node->append_conf('postgresql.conf', "max_worker_processes = 3\ndurable.databases = 'postgres, second'");
$offset = -s $node->logfile;
$node->restart;
$node->safe_psql('postgres', q(SELECT durable.start_new('answer', instance_id => 'crowded')));
ok(log_has($offset, qr/durable could not start a worker.*HINT:  Increase max_worker_processes/s), 'a full max_worker_processes is logged with a hint');
# With room for a worker two databases need no more than one scheduler, as nothing is due in the other.
$node->append_conf('postgresql.conf', "max_worker_processes = 4");
$node->restart;
poll_until($node, q(SELECT runtime_status = 'Completed' FROM durable.get_status('crowded')), 'the work is done when there is room');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|was terminated by signal/, 'nothing crashed');
done_testing();

# Whether the server's log comes to match, from an offset on.
sub log_has
{
	my ($from, $regex) = @_;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if slurp_file($node->logfile, $from) =~ $regex;
		select(undef, undef, undef, 0.1);
	}
	return 0;
}
