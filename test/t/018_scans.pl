# What the scheduler looks for in the tables it finds in time: beside timers that fire without a pause, after it had to wait
# for a lock, without reading more of the instances than it needs, and seldom where dead rows make it dear.
use strict;
use warnings;
use POSIX ();
use Time::HiRes qw(time);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('scans', conf => "durable.max_workers = 4\ndurable.poll_interval = '200ms'");
$node->safe_psql(
	'postgres', q(
	CREATE ROLE flood LOGIN;
	SELECT durable.grant_usage('flood');
	CREATE FUNCTION hello() RETURNS int LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION waits() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.wait_for_external_event('go'); END $$;
	));

# Runs as the role that has too much work.
sub flood
{
	return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'flood' ]);
}

# Asserts that an instance ends.
sub completes
{
	my ($id, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return poll_until($node, "SELECT runtime_status = 'Completed' FROM durable.get_status('$id')", $what);
}

# The most memory that the scheduler has had so far, in kB, where the system tells.
sub peak
{
	my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable scheduler'));

	return 0 unless -r "/proc/$pid/status" && slurp_file("/proc/$pid/status") =~ /VmHWM:\s+(\d+) kB/;
	note("peak $1 kB");
	return $1;
}

# Timers of another instance, fifty due in each millisecond; one that nobody was told of fires beside them.
$node->safe_psql('postgres', q(SELECT durable.start_new('hello', instance_id => 'untold', start_at => now() + '1 h')));
$node->safe_psql('postgres', q(SELECT durable.start_new('waits', instance_id => 'dense')));
poll_until($node, q(SELECT runtime_status = 'Running' FROM durable.get_status('dense')), 'an instance waits');
$node->safe_psql(
	'postgres', q(
	INSERT INTO durable_internal.timers (key, task_id, fire_at)
		SELECT key, 1000 + i, now() + '8 s' + i * interval '0.02 ms' FROM durable_internal.instances, generate_series(1, 500000) i WHERE instance_id = 'dense';
	SELECT durable.start_new('hello', instance_id => 'first', start_at => now() + '10 ms');
	));
poll_until($node, q(SELECT count(*) < 500000 FROM durable_internal.timers WHERE task_id > 1000), 'timers fire one after the other');
$node->safe_psql('postgres', q(UPDATE durable_internal.timers t SET fire_at = now() - interval '1 min' FROM durable_internal.instances i WHERE i.key = t.key AND instance_id = 'untold'));
completes('untold', 'a timer that nobody was told of fires');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.timers'), '>', 0, 'it does so beside the others');
$node->safe_psql('postgres', q(SELECT durable.terminate('dense')));

# More than the lists hold for a role that cannot have workers: the scheduler comes back to it after a while.
flood(q(SELECT count(*) FROM (SELECT durable.start_new('hello', start_at => now() + '1 h') FROM generate_series(1, 35000)) f));
$node->safe_psql('postgres', 'ALTER ROLE flood NOLOGIN');
$node->safe_psql('postgres', q(SELECT durable.start_new('waits', instance_id => 'event')));
poll_until($node, q(SELECT runtime_status = 'Running' FROM durable.get_status('event')), 'an instance waits');
$node->safe_psql('postgres', q(SELECT count(*) FROM (SELECT durable.raise_event(instance_id, 'go') FROM durable.instances WHERE name = 'hello' AND completed_time IS NULL) f));
$node->append_conf('postgresql.conf', 'durable.wakeups = off');
$node->reload;
$node->poll_query_until('postgres', 'SHOW durable.wakeups', 'off') or die 'no reload';

# It waits for a lock in the middle of a scan; that does not say what a scan costs.
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN');
$locker->query_safe('LOCK TABLE durable_internal.tasks');
poll_until($node, q(SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type = 'durable scheduler' AND clock_timestamp() - waitstart > '4 s'), 'the scheduler waits for a lock');
$locker->query_safe('COMMIT');
$locker->quit;
my $raised = $node->safe_psql('postgres', q(SELECT durable.raise_event('event', 'go'), clock_timestamp()));
$raised =~ s/^\|//;
completes('event', 'a scan finds an event');
cmp_ok($node->safe_psql('postgres', qq(SELECT extract(epoch FROM completed_time - '$raised') FROM durable.get_status('event'))),
	'<', 25, 'it does so before long');

# What instances have stored is not read for it.
my $before = peak();
$node->safe_psql('postgres', q(UPDATE durable_internal.instances SET custom_status = to_jsonb(repeat('x', 150000)) WHERE name = 'hello' AND completed_time IS NULL AND key % 16 = 0));
is($node->safe_psql('postgres', q(SELECT count(*) > 2000 FROM durable_internal.instances WHERE custom_status IS NOT NULL)), 't', 'some instances are large');
foreach my $id ('one', 'two', 'three')
{
	$node->safe_psql('postgres', "SELECT durable.start_new('hello', instance_id => '$id')");
	completes($id, "scan $id has been made");
}
cmp_ok(peak() - $before, '<', 30 * 1024, 'the scheduler needs little memory for it');
$node->stop;

# Dead rows that an old snapshot keeps are in its way each time, so it looks less often.
$node = durable_node('dead', conf => "durable.poll_interval = '10ms'");
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$holder->query_safe('SELECT 1');
$node->safe_psql('postgres', q(CREATE FUNCTION hello() RETURNS int LANGUAGE sql AS 'SELECT 1'));
$node->safe_psql('postgres', q(SELECT count(durable.start_new('hello')) FROM generate_series(1, 50000)));
poll_until($node, q(SELECT count(*) = 50000 FROM durable.instances WHERE runtime_status = 'Completed'), 'many instances come and go');

# Seconds of CPU that the scheduler has had.
sub scheduler_cpu
{
	my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable scheduler'));
	my @fields = split / /, (slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr);

	return ($fields[11] + $fields[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

SKIP:
{
	skip 'no /proc', 2 unless -r '/proc/self/stat';
	my $scans = $node->safe_psql('postgres', q(SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = 'messages_pkey'));
	my $cpu = scheduler_cpu();
	my $start = time;
	poll_until($node, "SELECT idx_scan > $scans + 3 FROM pg_stat_all_indexes WHERE indexrelname = 'messages_pkey'", 'scans go on');
	cmp_ok((scheduler_cpu() - $cpu) / (time - $start), '<', 0.1, 'they take a small part of a core');
}
$holder->quit;

# Nor does it read all the rows of one instance, which may be more than there are instances, and may be nobody's to take away.
$node->safe_psql('postgres', q(
CREATE FUNCTION waits() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.wait_for_external_event('go'); END $$;
CREATE ROLE flood LOGIN;
SELECT durable.grant_usage('flood')));
$holder = $node->background_psql('postgres', extra_params => [ '-U', 'flood' ]);
$holder->query_safe(q(SELECT durable.start_new('waits', instance_id => 'flooded', start_at => now() + '1 day')));
# no worker of its own reads them either
$node->safe_psql('postgres', 'ALTER ROLE flood NOLOGIN');
$holder->query_safe(q(BEGIN; SELECT count(durable.raise_event('flooded', 'e', '1')) FROM generate_series(1, 100000)));
my ($scans, $read) = split /\|/, $node->safe_psql('postgres', q(SELECT idx_scan, idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'messages_pkey'));
poll_until($node, "SELECT idx_scan > $scans + 10 FROM pg_stat_all_indexes WHERE indexrelname = 'messages_pkey'", 'scans go on');
cmp_ok($node->safe_psql('postgres', q(SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'messages_pkey')) - $read, '<', 50000, 'they pass over rows of one instance');
$holder->query_safe('COMMIT');
$holder->quit;
$node->safe_psql('postgres', 'ALTER ROLE flood LOGIN');
poll_until($node, q(SELECT count(*) = 0 FROM durable_internal.messages), 'all are taken in');
# the same with timers of a transaction that has not ended: they are many, and later
$holder = $node->background_psql('postgres', extra_params => [ '-U', 'flood' ]);
$holder->query_safe(q(BEGIN; SELECT count(durable.start_new('waits', start_at => now() + '1 day')) FROM generate_series(1, 50000)));
$read = $node->safe_psql('postgres', q(SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'timers_fire_at'));
$node->safe_psql('postgres', q(
CREATE FUNCTION brief() RETURNS int LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1 .. 10 LOOP PERFORM durable.sleep('1 ms'); END LOOP; RETURN 1; END $$;
SELECT durable.start_new('brief', instance_id => 'brief')));
completes('brief', 'timers fire');
cmp_ok($node->safe_psql('postgres', q(SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'timers_fire_at')) - $read, '<', 50000, 'the look for the next one passes over few');
$holder->query_safe('ROLLBACK');
$holder->quit;
$node->stop;

# Many timers of one time are announced in as many steps as those of different times, with the start of workers in between.
$node = durable_node('equal', conf => "durable.poll_interval = 10min");
$node->safe_psql('postgres', q(
CREATE FUNCTION hello() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE ROLE flood LOGIN;
SELECT durable.grant_usage('flood')));

$node->safe_psql('postgres', q(SELECT durable.start_new('hello', instance_id => 'flooded', start_at => now() + '1 day')), extra_params => [ '-U', 'flood' ]);
$node->safe_psql('postgres', 'ALTER ROLE flood NOLOGIN');

# The longest transaction of the scheduler while it announces timers of a role that has no worker, seconds.
sub longest_step
{
	my ($apart) = @_;
	my ($longest) = $node->safe_psql('postgres', qq(
CREATE TEMP TABLE longest AS SELECT interval '0' AS step;
INSERT INTO durable_internal.timers (key, task_id, fire_at)
SELECT key, i, now() + '5 s' + i * interval '$apart us' FROM durable_internal.instances, generate_series(1, 300000) i WHERE instance_id = 'flooded';
-- the scheduler looks for the next one after this one
SELECT durable.start_new('hello', start_at => now() + '0.1 s');
DO \$\$
DECLARE
	finished timestamptz := now() + '8 s';
BEGIN
	WHILE clock_timestamp() < finished LOOP
		PERFORM pg_stat_clear_snapshot();
		UPDATE longest SET step = greatest(step, (SELECT max(clock_timestamp() - xact_start) FROM pg_stat_activity WHERE backend_type = 'durable scheduler'));
		PERFORM pg_sleep(0.002);
	END LOOP;
END \$\$;
SELECT extract(epoch FROM step) FROM longest)) =~ /([\d.]+)$/;
	$node->safe_psql('postgres', 'DELETE FROM durable_internal.timers');
	note("timers $apart us apart: $longest s");
	return $longest;
}

my $apart = longest_step(1);
cmp_ok(longest_step(0), '<', 4 * $apart, 'one time is no longer step than many');

# Rows of an open transaction cost little, however many subtransactions are around them and wherever their numbers are.
$node->safe_psql('postgres', q(ALTER ROLE flood LOGIN));
$node->safe_psql('postgres', "CREATE ROLE other_$_ LOGIN; SELECT durable.grant_usage('other_$_')") foreach 1 .. 5;
bystander($node, 'hello beside nothing', role => 'other_1');
$holder = $node->background_psql('postgres', extra_params => [ '-U', 'flood' ]);
$holder->query_safe('CREATE TEMP TABLE t (i int); BEGIN');
$holder->query_safe(q(SAVEPOINT s; INSERT INTO t VALUES (1);
	DO $$ BEGIN FOR j IN 1 .. 2100 LOOP BEGIN INSERT INTO t VALUES (2); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$)) foreach 1 .. 32;
$holder->query_safe(q(SELECT count(durable.start_new('hello', start_at => clock_timestamp() + '1 ms')) FROM generate_series(1, 50000)));
change_setting($node, 'durable.poll_interval', '100ms');
my $start = time;
bystander($node, 'hello beside rows of an open transaction', role => "other_$_") foreach 2 .. 5;
cmp_ok(time - $start, '<', 2 * seconds_bar($node), 'all of them');
$holder->query_safe('ROLLBACK');
$holder->quit;
$node->stop;
done_testing();
