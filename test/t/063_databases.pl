# Which databases of a server are served: more of them than processes or slots, invalid and unreachable ones, those that
# several sessions keep the engine out of.  The view durable.databases and the log say so.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# The launcher, that of logical replication, and six more: not enough for a scheduler in each database, and workers.
my $node = durable_node('databases', conf => "max_worker_processes = 8\nmax_parallel_workers = 0\ndurable.max_workers = 2\ndurable.worker_idle_timeout = 1s\n");
my $log = server_log($node);
my $setup = q[
CREATE TABLE beats (n int);
CREATE FUNCTION beat() RETURNS void LANGUAGE sql AS 'INSERT INTO beats VALUES (1)';
CREATE FUNCTION hello() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('beat'); RETURN 1; END $$;
CREATE FUNCTION naps() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.sleep('3 s'); RETURN durable.call_sub_orchestrator('hello'); END $$;
CREATE FUNCTION endless() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('beat'); PERFORM durable.sleep('10 ms'); PERFORM durable.continue_as_new(); END $$;
];
$node->safe_psql('postgres', $setup);
my @databases = ('postgres', map { "db$_" } 1 .. 7);
$node->safe_psql('template1', "CREATE DATABASE $_ TEMPLATE postgres") foreach @databases[1 .. 7];

# What the view says of a database.
sub says
{
	my ($database, $state, $reason, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return poll_until($node, "SELECT state = '$state' AND coalesce(reason, '') ~ '$reason' FROM durable.databases WHERE database = '$database'", $what);
}

# Idle databases take no process from those that have something to do.
poll_until($node, q[SELECT count(*) = 8 FROM durable.databases WHERE state = 'idle'], 'schedulers of idle databases leave, and all databases have been looked at');
unlike(slurp_file($log), qr/could not start|leaves durable fewer processes/, 'with few processes');
my %ids = map { $_ => $node->safe_psql($_, q[SELECT durable.start_new('naps')]) } @databases;
poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('$ids{$_}')", "an instance of $_ completes", 't', $_) foreach @databases;
says('template0', 'excluded', 'template', 'templates are not served');

# Nor do busy ones for ever.
$node->safe_psql($_, q[DELETE FROM beats; SELECT durable.start_new('endless')]) foreach @databases;
poll_until($node, 'SELECT count(*) > 20 FROM beats', "the instance of $_ that never ends goes on", 't', $_) foreach @databases;
foreach my $database (@databases)
{
	$node->safe_psql($database, q[SELECT durable.terminate(instance_id) FROM durable.instances WHERE completed_time IS NULL]);
}
poll_until($node, q[SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL], "that of $_ ends", 't', $_) foreach @databases;

# Others see nothing of the server's databases.
$node->safe_psql('postgres', q[CREATE ROLE regress_durable_user LOGIN; CREATE ROLE regress_durable_monitor LOGIN IN ROLE pg_monitor;
	SELECT durable.grant_usage('regress_durable_user'), durable.grant_usage('regress_durable_monitor')]);
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable.databases', extra_params => [ '-U', 'regress_durable_user' ]), '0', 'an ordinary role sees no rows');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable.databases', extra_params => [ '-U', 'regress_durable_monitor' ]),
	'10', 'a member of pg_monitor sees all');

# With processes for all of them, all are served that have something to do.
$node->append_conf('postgresql.conf', "max_worker_processes = 32\n");
$node->restart;
$node->safe_psql($_, q[SELECT durable.start_new('endless')]) foreach @databases;
poll_until($node, q[SELECT count(*) = 8 FROM durable.databases WHERE state = 'served'], 'with enough processes all are served');

# One that cannot be connected to is left alone, or tried ever less often.
my $offset = -s $log;
$node->safe_psql('postgres', q[UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'db1']);
$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid) FROM durable.databases WHERE database = 'db1']);
says('db1', 'excluded', 'invalid', 'an invalid database is shown as such');
my $file = $node->data_dir . '/' . $node->safe_psql('db2', q[SELECT 'base/' || oid FROM pg_database WHERE datname = current_database()]) . '/PG_VERSION';
rename $file, "$file.away" or die "$file: $!";
$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid) FROM durable.databases WHERE database = 'db2']);
poll_until($node, q[SELECT failures >= 5 AND retry_at > now() AND state = 'failing' FROM durable.databases WHERE database = 'db2'], 'one that is broken is tried ever less often');
my $failures = $node->safe_psql('postgres', q[SELECT failures FROM durable.databases WHERE database = 'db2']);
my $fatal = () = slurp_file($log, $offset) =~ /FATAL:  (?!terminating)/g;
cmp_ok($fatal, '<=', $failures, 'and the log has a line for each try at most');
unlike(slurp_file($log, $offset), qr/FATAL:.*invalid database/, 'the invalid one is not tried at all');
rename "$file.away", $file or die "$file: $!";
$node->safe_psql('postgres', q[UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'db1']);
says($_, 'served', '', "$_ is served again when it is sound") foreach 'db2', 'db1';

# Two sessions that keep the engine out of a database: it stays out until both are done.  The lock of a comment holds them up.
sub background
{
	my (@sql) = @_;
	my $run = { err => '', out => '' };
	$run->{handle} = IPC::Run::start([ 'psql', '-XAtq', (map { ('-c', $_) } @sql), $node->connstr('postgres') ], '<', \undef, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}
my $waits = q[SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%s' AND wait_event_type = 'Lock'];
my $holder = $node->background_psql('postgres');
$holder->query_safe(q[BEGIN; COMMENT ON DATABASE db1 IS 'held']);
my $first = background('CREATE DATABASE copy1 TEMPLATE db1');
poll_until($node, sprintf($waits, 'CREATE DATABASE copy1%'), 'a session has made the engine leave');
says('db1', 'paused', 'session', 'the view says so');
my ($rc, $out, $err) = $node->psql('postgres', "SET lock_timeout = '200ms';\nCREATE DATABASE copy2 TEMPLATE db1;");
like($err, qr/lock timeout/, 'another one gives up');
is($node->safe_psql('postgres', q[SELECT state FROM durable.databases WHERE database = 'db1']), 'paused', 'the engine stays out for the first');
$holder->query_safe('COMMIT');
$first->{handle}->finish;
is($first->{err}, '', 'which succeeds');
says('db1', 'served', '', 'and then the engine is there again');
# one that is terminated keeps it out no longer
$holder->query_safe(q[BEGIN; COMMENT ON DATABASE db1 IS 'held']);
my $second = background('CREATE DATABASE copy3 TEMPLATE db1');
poll_until($node, sprintf($waits, 'CREATE DATABASE copy3%'), 'a session has made the engine leave');
$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE copy3%']);
says('db1', 'served', '', 'it is there again when the session has been terminated');
$holder->query_safe('COMMIT');
$holder->quit;
$second->{handle}->finish;

# A process that does not end, as its code does not look for interrupts: the commands give up and the engine comes back,
# within the transaction too where a savepoint is rolled back. A stopped process stands for it.
$node->safe_psql('db1', q[CREATE FUNCTION stuck() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('pg_catalog.pg_sleep', '[3600]'); END $$;
	SELECT durable.start_new('stuck', instance_id => 'stuck')]);
poll_until($node, q[SELECT count(pid) = 1 FROM durable.workers WHERE instance_id = 'stuck' AND place = 'long' AND task_id IS NOT NULL], 'an activity runs', 't', 'db1');
my $pid = $node->safe_psql('db1', q[SELECT pid FROM durable.workers WHERE instance_id = 'stuck' AND place = 'long']);
kill 'STOP', $pid;
my $limit = q[SET statement_timeout = '1min'];
my $dropping = background($limit, 'DROP DATABASE db1');
my $session = $node->background_psql('db1', on_error_stop => 0);
$session->query("$limit; BEGIN; SAVEPOINT s;");
$session->query('DROP EXTENSION durable CASCADE;');
$err = $session->{stderr};
$session->query('ROLLBACK TO s;');
$dropping->{handle}->finish;
foreach my $case ([ 'DROP EXTENSION', $err ], [ 'DROP DATABASE', $dropping->{err} ])
{
	like($case->[1], qr/could not end its processes in database "db1".*DETAIL:  Processes that do not end: .*\b$pid\b.*HINT:/s, "$case->[0] says which process does not end");
}
says('db1', 'served', '', 'the engine is there again');
$session->quit;
kill 'CONT', $pid;
$node->safe_psql('db1', q[SELECT durable.terminate('stuck')]);
$node->safe_psql('db1', 'DROP EXTENSION durable CASCADE');
is($node->safe_psql('db1', q[SELECT count(*) FROM pg_extension WHERE extname = 'durable']), 0, 'once it has ended DROP EXTENSION succeeds');
$node->safe_psql('db1', 'CREATE EXTENSION durable');
says('db1', 'served', '', 'and the engine serves what comes next');

# More databases than slots.
$offset = -s $log;
$node->append_conf('postgresql.conf', "durable.max_databases = 3\n");
$node->restart;
poll_until($node, q[SELECT count(*) = 3 FROM durable.databases WHERE state = 'served'], 'as many databases are served as durable.max_databases says');
like(slurp_file($log, $offset), qr/durable does not serve database "\w+": there are more databases than durable.max_databases \(3\)\n.*HINT:  Increase durable.max_databases/,
	'the log says how to have more');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.databases WHERE state = 'excluded' AND reason ~ 'durable.max_databases']), '6', 'the view says so of the others');
$node->stop;
unlike(slurp_file($log), qr/PANIC:|TRAP:|was terminated by signal/, 'nothing has crashed');
done_testing();
