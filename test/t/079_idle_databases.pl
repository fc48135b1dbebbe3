# A database in which nothing is due costs no process: its scheduler leaves, and comes back for whatever is committed there,
# for a timer, and for a role that is dropped or created.  With DURABLE_MANY, a number of databases of 34 or more, all of that is tried at
# length, and a restart; that takes two minutes.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use List::Util qw(max min);
use Time::HiRes qw(time);
use DurableTest;

my $long = $ENV{DURABLE_MANY};
my $many = $long // 13;
my $node = durable_node('idle_databases', conf => <<"END");
max_worker_processes = 8
max_parallel_workers = 0
max_prepared_transactions = 2
autovacuum = off
fsync = off
durable.max_workers = 2
durable.worker_idle_timeout = 1s
END
my $log = server_log($node);
$node->safe_psql('postgres', q[
CREATE TABLE beats (n int);
CREATE FUNCTION beat() RETURNS void LANGUAGE sql AS 'INSERT INTO public.beats VALUES (1)';
CREATE FUNCTION hello() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('beat'); RETURN 1; END $$;
CREATE FUNCTION sleeps(span text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.sleep(span::interval); RETURN 1; END $$;
CREATE FUNCTION listens() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.wait_for_external_event('e'); END $$;
]);
my @databases = map { "db$_" } 1 .. $many;

# Makes a copy of the database postgres and starts an instance there at once.
my $start = time;
$node->safe_psql('template1', join("\n", map { "CREATE DATABASE $_ TEMPLATE postgres;" } @databases[0 .. $many - 2]));
my $offset = -s $log;
$node->safe_psql('template1', "CREATE DATABASE $databases[-1] TEMPLATE postgres");
my $id = $node->safe_psql($databases[-1], q[SELECT durable.start_new('hello')]);
poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('$id')", 'an instance of a new database completes', 't', $databases[-1]);
is($node->safe_psql($databases[-1], "SELECT completed_time - created_time < '20 s' FROM durable.instances WHERE instance_id = '$id'"), 't',
	'without waiting for the next look at all databases');

# Asserts that the engine has no process but the launcher.
my $alone = q[SELECT count(*) FILTER (WHERE backend_type <> 'durable launcher') = 0 FROM pg_stat_activity WHERE backend_type LIKE 'durable%'];
sub all_leave
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return poll_until($node, $alone, $what);
}
if ($long)
{
	all_leave('the engine has no process but the launcher where nothing is due');
	poll_until($node, "SELECT count(*) = $many + 1 FROM durable.databases WHERE state = 'idle' AND pid IS NULL AND reason IS NULL", 'the view says so');

	# Seconds from the commit to the first turn.
	sub latency
	{
		my ($database, $function) = @_;
		my $id = $node->safe_psql($database, "SELECT durable.start_new('$function')");
		$node->poll_query_until($database, "SELECT runtime_status = 'Completed' FROM durable.get_status('$id')");
		return $node->safe_psql($database, "SELECT extract(epoch FROM started_time - created_time) FROM durable_internal.instances WHERE instance_id = '$id'");
	}
	my @latencies = map { latency($_, 'hello') } @databases[0 .. 4];
	note("seconds until the first turn where there was no scheduler: @latencies");
	cmp_ok(min(@latencies), '<', 0.5, 'the first instance of an idle database starts soon');

	# A timer, of an instance that sleeps and of one that starts later; nobody is there meanwhile.
	$node->safe_psql($_, q[SELECT durable.start_new('sleeps', '"30 s"', 'sleeps')]) foreach @databases[5 .. 7];
	all_leave('nothing is left where timers are not due');
	is($node->safe_psql($databases[5], 'SELECT count(*) FROM durable.timers'), '1', 'the timer has not fired yet');
	is($node->safe_psql('postgres', "SELECT state || ' ' || (retry_at BETWEEN now() AND now() + '30 s') FROM durable.databases WHERE database = '$databases[5]'"),
		'idle true', 'durable.databases says when the scheduler comes back');
	$node->safe_psql($databases[8], q[SELECT durable.start_new('hello', instance_id => 'later', start_at => clock_timestamp() + '3 s')]);
	is($node->safe_psql('postgres', $alone), 't', 'a start that is announced for later starts nothing yet');
	poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('later')], 'the instance starts then', 't', $databases[8]);
	my @late = $node->safe_psql($databases[8], q[SELECT extract(epoch FROM started_time - scheduled_start_time) FROM durable_internal.instances WHERE instance_id = 'later']);
	foreach my $database (@databases[5 .. 7])
	{
		poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('sleeps')], "the timer of $database fires", 't', $database);
		push @late, $node->safe_psql($database, q[SELECT extract(epoch FROM completed_time - started_time) - 30 FROM durable_internal.instances WHERE instance_id = 'sleeps']);
	}
	note("seconds that timers were late: @late");
	cmp_ok(min(@late), '<', 0.2, 'timers fire on time');
	cmp_ok(max(@late), '<', 2, 'all of them, however busy the machine is');
}

# Whatever else has something for the engine to do, each in a database of its own.
my ($event, $terminated, $prepared, $dropped, $missing, $restored, $gone, $slept) = $long ? @databases[10 .. 17] : @databases[0 .. 7];
my $file = PostgreSQL::Test::Utils::tempdir() . '/instances';
$node->safe_psql($_, q[SELECT durable.start_new('listens', instance_id => 'listens')]) foreach $event, $terminated, $prepared;
$node->safe_psql('postgres', 'CREATE ROLE regress_idle_dropped LOGIN');
$node->safe_psql($dropped, q[SELECT durable.grant_usage('regress_idle_dropped')]);
$node->safe_psql($dropped, q[SELECT durable.start_new('listens', instance_id => 'listens')], extra_params => [ '-U', 'regress_idle_dropped' ]);
$node->safe_psql($missing, q[SELECT durable.start_new('listens', instance_id => 'listens')]);
poll_until($node, q[SELECT count(*) = 1 FROM durable.history WHERE event_type = 'EventSubscribed'], "an instance of $_ waits", 't', $_)
	foreach $event, $terminated, $prepared, $dropped, $missing;
$node->safe_psql($missing, q[UPDATE durable_internal.instances SET owner = 'regress_idle_missing' WHERE instance_id = 'listens'; SELECT durable.raise_event('listens', 'e', '1')]);
$node->safe_psql($prepared, q[BEGIN; SELECT durable.raise_event('listens', 'e', '1'); PREPARE TRANSACTION 'event']);
$node->safe_psql($dropped, 'DROP OWNED BY regress_idle_dropped');
$node->safe_psql($restored, "BEGIN; SELECT durable.start_new('hello', instance_id => 'hello'); COPY durable_internal.instances TO '$file.instances'; COPY durable_internal.history TO '$file.history'; ROLLBACK");
$node->safe_psql($slept, q[SELECT durable.start_new('sleeps', '"300 s"', 'sleeps')]);
poll_until($node, q[SELECT count(*) = 1 FROM durable.timers], 'a timer is set', 't', $slept);
all_leave('nobody is left where instances wait for events');
poll_until($node, "SELECT count(*) = $many + 1 FROM durable.databases WHERE state = 'idle' AND pid IS NULL AND reason IS NULL", 'the view says so');
is($node->safe_psql('postgres', "SELECT retry_at BETWEEN now() + '200 s' AND now() + '300 s' FROM durable.databases WHERE database = '$slept'"),
	't', 'durable.databases says when the scheduler comes back for a timer');
$offset = -s $log;
my $bar = seconds_bar($node);
$start = time;

# Asserts that the instance of a database comes to a state.
sub becomes
{
	my ($database, $instance, $status, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return poll_until($node, "SELECT runtime_status FROM durable.get_status('$instance')", $what, $status, $database);
}
$node->safe_psql('postgres', q[ALTER ROLE regress_idle_dropped PASSWORD 'x'; CREATE ROLE regress_idle_other]);
is($node->safe_psql('postgres', q[SELECT count(*) <= 1 FROM durable.databases WHERE state <> 'idle' AND reason IS DISTINCT FROM 'it is a template']),
	't', 'a password concerns no idle database, and a new role one where a role is missing');
$node->safe_psql($event, q[SELECT durable.raise_event('listens', 'e', '1')]);
becomes($event, 'listens', 'Completed', 'an event is heard');
$node->safe_psql($terminated, q[SELECT durable.terminate('listens')]);
becomes($terminated, 'listens', 'Terminated', 'an instance is terminated');
$node->safe_psql($prepared, "COMMIT PREPARED 'event'");
becomes($prepared, 'listens', 'Completed', 'the event of a prepared transaction is heard');
$node->safe_psql($restored, "COPY durable_internal.history FROM '$file.history'; COPY durable_internal.instances FROM '$file.instances'");
becomes($restored, 'hello', 'Completed', 'an instance that is restored runs');
$node->safe_psql('postgres', 'CREATE ROLE regress_idle_missing LOGIN');
becomes($missing, 'listens', 'Failed', 'an instance whose role was missing runs when the role is created, and fails as the role may not use durable');
$node->safe_psql('postgres', 'DROP ROLE regress_idle_dropped');
becomes($dropped, 'listens', 'Failed', 'the instance of a role that is dropped fails');
$node->safe_psql($gone, 'DROP EXTENSION durable CASCADE');
poll_until($node, "SELECT state = 'absent' FROM durable.databases WHERE database = '$gone'", 'the extension is dropped');
cmp_ok(time - $start, '<', 4 + $bar, 'all of that in time');
like(slurp_file($log, $offset), qr/durable stops in database "$gone": the extension was dropped/, 'the log says that the engine stops there');
unlike(slurp_file($log, $offset), qr/runs in database/, 'it does not say each time that the engine runs');
is(() = slurp_file($log) =~ /durable \S+ runs in database "$databases[0]"/g, 1, 'but at the first time');

# Databases that have something to do at once, more than there are processes, and no more work in each than some milliseconds.
sub at_once
{
	my (@busy) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	my $bar = seconds_bar($node);
	$node->safe_psql('postgres', join('', map { "\\c $_\nSELECT durable.start_new('hello', instance_id => 'busy');\n" } @busy));
	becomes($_, 'busy', 'Completed', "the instance of $_ completes") foreach @busy;
	my @waits = map { $node->safe_psql($_, q[SELECT extract(epoch FROM completed_time - created_time) FROM durable.instances WHERE instance_id = 'busy']) } @busy;
	note(sprintf 'the longest wait of %d databases: %.3f s', scalar @busy, max(@waits));
	# each takes the start of two processes, which is some milliseconds of processor time
	$bar = max($bar, 0.02 * @busy);
	return cmp_ok(max(@waits), '<', $bar, sprintf 'none has waited for longer than %.1f s', $bar);
}

if (!$long)
{
	at_once(@databases[1, 2, 5, 7 .. 12]);
}
else
{
	my @busy = @databases[18 .. min($#databases, 17 + 30 * $many / 60)];
	my @others = @databases[@databases - 10 .. $#databases];
	all_leave('all have left once more');
	$offset = -s $log;
	$node->safe_psql('postgres', join('', map { "\\c $_\nSELECT durable.start_new('sleeps', '\"30 s\"', 'timer');\n" } @others));
	all_leave('timers are set');
	at_once(@busy);
	becomes($_, 'timer', 'Completed', "the timer of $_ fires") foreach @others;
	cmp_ok(max(map { $node->safe_psql($_, q[SELECT extract(epoch FROM completed_time - started_time) - 30 FROM durable_internal.instances WHERE instance_id = 'timer']) } @others),
		'<', 10, 'without much delay');
	unlike(slurp_file($log, $offset), qr/runs in database/, 'the log says nothing of all that');
	all_leave('and all leave again');

	# A restart, with timers that become due while the server is down; and another launcher.
	$node->safe_psql($_, q[SELECT durable.start_new('sleeps', '"1 s"', 'down')]) foreach @databases[0 .. 2];
	$node->safe_psql($databases[3], q[SELECT durable.start_new('listens', instance_id => 'launcher')]);
	poll_until($node, q[SELECT count(*) = 1 FROM durable.timers], 'the timer is set', 't', $databases[2]);
	$node->stop('immediate');
	$node->start;
	becomes($_, 'down', 'Completed', "the timer of $_ fires after a restart") foreach @databases[0 .. 2];
	all_leave('all databases are looked at, and left');
	poll_until($node, "SELECT count(*) = $many FROM durable.databases WHERE state = 'idle'", 'each of them');
	$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'durable launcher']);
	$node->safe_psql($databases[3], q[SELECT durable.raise_event('launcher', 'e', '1')]);
	becomes($databases[3], 'launcher', 'Completed', 'an event while there is no launcher');

	# Without wake-ups nobody leaves.
	all_leave('all have left');
	my $pending = "SELECT durable.start_new('hello', instance_id => 'unannounced')";
	$node->append_conf('postgresql.conf', "durable.wakeups = off\n");
	$node->reload;
	poll_until($node, 'SHOW durable.wakeups', 'wake-ups are off', 'off');
	$node->safe_psql($databases[4], $pending);
	becomes($databases[4], 'unannounced', 'Completed', 'what nobody has announced is found');
}

# A single process for schedulers and workers: while one database has it, another one that has something to do waits, and says so.
if (!$long)
{
	$offset = -s $log;
	$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
	$node->restart;
	like(slurp_file($log, $offset), qr/WARNING:  max_worker_processes \(3\) leaves durable fewer processes for workers \(1\) than durable.max_workers \(2\).*HINT:  .*durable.max_long_activities/s,
		'the log says that there are too few processes')
		if poll_until($node, 'SELECT pg_read_file(\'' . $log . "', $offset, 1000000) ~ '[l]eaves durable'", 'the launcher looks at max_worker_processes');
	poll_until($node, "SELECT count(*) >= $many FROM durable.databases WHERE state = 'idle'", 'all databases have been looked at');
	$node->safe_psql($databases[0], q[SELECT durable.start_new('hello')]);
	poll_until($node, "SELECT count(*) = 1 FROM durable.databases WHERE state = 'served'", 'one of them is served');
	$node->safe_psql($slept, q[SELECT durable.start_new('hello', instance_id => 'waits')]);
	is($node->safe_psql('postgres', "SELECT state, retry_at IS NULL, reason ~ 'durable.max_long_activities' FROM durable.databases WHERE database = '$slept'"),
		'waiting|t|t', 'another one waits for a process');
	is($node->safe_psql($slept, q[SELECT ready_instances, start_obstacle ~ 'max_worker_processes' FROM durable.stats WHERE role = current_user::regrole]),
		'1|t', 'and durable.stats says so');
	is($node->safe_psql($slept, q[SELECT count(*) FROM durable.explain('waits') WHERE explain ~ '^No worker can run for postgres: the database waits for its scheduler']),
		'1', 'and durable.explain');
}
$node->stop;
unlike(slurp_file($log), qr/PANIC:|TRAP:|was terminated by signal/, 'nothing has crashed');
done_testing();
