# What the server's log says of the engine: that it runs, which instances fail, what work has waited for; and that its
# processes leave without FATAL.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('log', extension => 0, conf => q(
log_line_prefix = '%b|'
log_min_messages = log
durable.max_workers = 2
durable.max_long_activities = 3
durable.worker_idle_timeout = 1h
));

# The log from an offset on, and whether it comes to match.
sub logged
{
	my ($from) = @_;
	return slurp_file($node->logfile, $from);
}

sub log_comes
{
	my ($from, $regex, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return pass($what) if logged($from) =~ $regex;
		select(undef, undef, undef, 0.1);
	}
	fail($what);
	diag(logged($from));
	return 0;
}

sub count_lines
{
	my ($from, $regex) = @_;
	return scalar(() = logged($from) =~ /$regex/g);
}

sub ends
{
	my ($id, $status, $what, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	poll_until($node, "SELECT runtime_status FROM durable.get_status(\$id\$$id\$id\$)", $what, $status, $database);
}

sub reload
{
	my (%settings) = @_;
	$node->append_conf('postgresql.conf', join '', map { "$_ = $settings{$_}\n" } sort keys %settings);
	$node->reload;
}

# Holds a lock in a session of its own until the returned handle is finished.
sub session
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres');
	$session->query_safe($sql);
	return $session;
}

#
# The engine's start and end.
#
my $offset = -s $node->logfile;
$node->safe_psql('postgres', q(CREATE EXTENSION durable));
log_comes($offset, qr/^durable scheduler\|LOG:  durable \d+\.\d+\S* runs in database "postgres"\n.*DETAIL:  Instances that have something to do: 0\.$/m,
	'the log says that the engine runs');
$node->safe_psql('postgres', 'DROP EXTENSION durable');
log_comes($offset, qr/^durable scheduler\|LOG:  durable stops in database "postgres": the extension was dropped$/m, 'and that it stops');
is(count_lines($offset, qr/ runs in database/), 1, 'once each, and not for databases without it');
is(count_lines($offset, qr/durable stops/), 1, '...');

#
# Instances that fail.
#
my $setup = q(
CREATE EXTENSION IF NOT EXISTS durable;
CREATE FUNCTION activity_fails(jsonb) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE '%', $1 #>> '{}' USING ERRCODE = 'P0042'; END $$;
CREATE FUNCTION fails(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('activity_fails', $1); END $$;
CREATE FUNCTION raises(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE '%', $1 #>> '{}'; END $$;
CREATE FUNCTION parent(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN RETURN durable.call_sub_orchestrator('raises', $1, instance_id => durable.instance_id() || '-child'); END $$;
CREATE FUNCTION detaches(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN RETURN to_jsonb(durable.start_sub_orchestrator('raises', $1, instance_id => durable.instance_id() || '-child')); END $$;
-- leaves before its child has failed
CREATE FUNCTION leaves(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN PERFORM durable.schedule_sub_orchestrator('waits_and_raises', $1, instance_id => durable.instance_id() || '-child'); RETURN NULL; END $$;
CREATE FUNCTION waits_and_raises(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN PERFORM durable.wait_for_external_event('go'); RAISE '%', $1 #>> '{}'; END $$;
CREATE TABLE gate (open boolean);
INSERT INTO gate VALUES (true);
CREATE FUNCTION passes(fail boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF fail THEN RAISE 'failed in a round'; END IF;
	-- who handles interruptions goes on until the process ends
	WHILE EXISTS (SELECT FROM gate WHERE NOT open) LOOP
		BEGIN
			PERFORM pg_sleep(0.1);
		EXCEPTION WHEN query_canceled THEN
			NULL;
		END;
	END LOOP;
	RETURN NULL;
END $$;
CREATE FUNCTION sleeping() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(3600)';
CREATE FUNCTION sleeps() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('public.sleeping'); END $$;
CREATE FUNCTION quick() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
);
$node->safe_psql('postgres', $setup);

# What one line is to be; role postgres throughout.
sub line
{
	my ($id, $name, $rest) = @_;
	return qr/^durable worker\|LOG:  instance "\Q$id\E" of orchestrator "\Q$name\E", role "\w+", failed: $rest$/m;
}

$offset = -s $node->logfile;
$node->safe_psql('postgres', q(
SELECT durable.start_new('fails', '"payment declined"', 'activity');
SELECT durable.start_new('parent', '"of a child"', 'told');
SELECT durable.start_new('detaches', '"detached"', 'detached');
SELECT durable.start_new('leaves', '"left behind"', 'left')));
ends('left', 'Completed', 'a parent leaves');
$node->safe_psql('postgres', q(SELECT durable.raise_event('left-child', 'go')));
ends($_, 'Failed', "$_ fails") foreach ('activity', 'told', 'told-child', 'detached-child', 'left-child');
log_comes($offset, line('activity', 'fails', 'P0042: payment declined'), 'a failure is logged');
like(logged($offset), qr/payment declined\n.*DETAIL:  Activity "activity_fails" failed, task 1\.\n/, '... with the activity');
log_comes($offset, line('told', 'parent', 'P0001: of a child'), 'that of a parent, too');
like(logged($offset), qr/of a child\n.*DETAIL:  Sub-orchestration "told-child" failed\.\n/, '... with its child');
log_comes($offset, line('detached-child', 'raises', 'P0001: detached'), 'and of a child that nobody waits for');
log_comes($offset, line('left-child', 'waits_and_raises', 'P0001: left behind'), 'or whose parent has ended');
is(count_lines($offset, qr/LOG:  instance "told-child"/), 0, 'not that of a child whose parent is told');
is(count_lines($offset, qr/STATEMENT|CONTEXT/), 0, 'nothing else');

# Nobody's text makes a line of its own.
$offset = -s $node->logfile;
$node->safe_psql('postgres', q(SELECT durable.start_new('raises', to_jsonb(E'a\nclient backend|FATAL:  forged \x1b[31m\r\u0085\u2028\u202e\\\\end ' || repeat('é', 1000)), 'x" of orchestrator "y')));
ends('x" of orchestrator "y', 'Failed', 'a hostile instance fails');
log_comes($offset, qr/^durable worker\|LOG:  instance "x\\" of orchestrator \\"y" of orchestrator "raises", role "\w+", failed: P0001: a\\nclient backend\|FATAL:  forged \\x1B\[31m\\x0D\\xC2\\x85\\xE2\\x80\\xA8\\xE2\\x80\\xAE\\\\end [^\n]{800,1000}\.\.\.$/m,
	'what looks like an end of line is escaped, and the line is bounded');
# the same in other encodings
$node->safe_psql('postgres', q(CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'));
$node->safe_psql('latin', q(SET client_encoding = 'UTF8';
CREATE EXTENSION durable;
CREATE FUNCTION raises() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', 'a' || chr(133) || 'b' || chr(155) || 'c'; END $$;
SELECT durable.start_new('raises', instance_id => 'x' || chr(133) || 'y')));
log_comes($offset, qr/^durable worker\|LOG:  instance "x\\x85y" of orchestrator "raises", role "\w+", failed: P0001: a\\x85b\\x9Bc$/m, 'control characters of LATIN1');

# The setting.
$offset = -s $node->logfile;
reload('durable.log_failures' => 'all');
# workers start anew
poll_until($node, q(SELECT count(*) = 0 FROM durable.workers WHERE state = 'idle'), 'the setting arrives');
$node->safe_psql('postgres', q(SELECT durable.start_new('parent', '"all of them"', 'all')));
log_comes($offset, line('all-child', 'raises', 'P0001: all of them'), 'with all, a child that fails is logged');
ends('all', 'Failed', 'the parent fails');
reload('durable.log_failures' => 'none');
poll_until($node, q(SELECT count(*) = 0 FROM durable.workers WHERE state = 'idle'), 'the setting arrives');
$offset = -s $node->logfile;
$node->safe_psql('postgres', q(SELECT durable.start_new('fails', '"quiet"', 'quiet')));
ends('quiet', 'Failed', 'fails');
reload('durable.log_failures' => 'top');
poll_until($node, q(SELECT count(*) = 0 FROM durable.workers WHERE state = 'idle'), 'the setting arrives');
$node->safe_psql('postgres', q(SELECT durable.start_new('fails', '"loud"', 'loud')));
log_comes($offset, line('loud', 'fails', 'P0042: loud'), 'with top again, a failure is logged');
is(count_lines($offset, qr/LOG:  instance "quiet"/), 0, 'with none it was not');

# A round that is undone tells nothing.
$node->safe_psql('postgres', q(SELECT durable.start_new('passes', 'false', 'warm-' || i) FROM generate_series(1, 50) i));
poll_until($node, q(SELECT count(*) = 50 FROM durable.instances WHERE instance_id LIKE 'warm-%' AND runtime_status = 'Completed'), 'a turn known to be quick');
poll_until($node, q(SELECT count(*) = 0 FROM durable.workers WHERE state <> 'idle'), 'workers are idle');
$node->safe_psql('postgres', 'UPDATE gate SET open = false');
$offset = -s $node->logfile;
$node->safe_psql('postgres', q(
BEGIN;
SELECT durable.start_new('passes', fail::text::jsonb, CASE WHEN fail THEN 'undone-' ELSE 'held-' END || i) FROM generate_series(1, 3) i, unnest('{t,f}'::boolean[]) fail;
COMMIT));
log_comes($offset, qr/^durable worker\|LOG:  a durable worker was ended while it ran a function$/m, 'a round is undone after some of it has failed');
$node->safe_psql('postgres', 'UPDATE gate SET open = true');
poll_until($node, q(SELECT count(*) = 6 FROM durable.instances WHERE instance_id ~ '^(held|undone)-' AND runtime_status IN ('Completed', 'Failed')), 'all end');
log_comes($offset, qr/"undone-$_".*failed in a round/, "undone-$_ is logged") foreach (1 .. 3);
is(count_lines($offset, qr/failed in a round/), 3, '... once');

# At most so many a minute, and the number of the others.
$node->safe_psql('postgres', q(CREATE ROLE regress_flood LOGIN; SELECT durable.grant_usage('regress_flood'); CREATE ROLE regress_other LOGIN; SELECT durable.grant_usage('regress_other')));
my $flood = -s $node->logfile;
$node->safe_psql('postgres', q(SET ROLE regress_flood; SELECT durable.start_new('public.raises', '"flood"', 'flood-' || i) FROM generate_series(1, 143) i));
poll_until($node, q(SELECT count(*) = 143 FROM durable.instances WHERE instance_id LIKE 'flood-%' AND runtime_status = 'Failed'), 'very many fail');
$node->safe_psql('postgres', q(SET ROLE regress_other; SELECT durable.start_new('public.raises', '"beside it"', 'beside')));
log_comes($flood, qr/"beside".*role "regress_other", failed: P0001: beside it$/m, 'those of others are logged as ever');
is(count_lines($flood, qr/LOG:  instance "flood-/), 20, 'of those of one role 20');

#
# Work that waits: for a lock, for a place, and the scheduler itself for a lock.
#
$node->safe_psql('postgres', q(
CREATE TABLE locked ();
GRANT ALL ON locked, gate TO PUBLIC;
CREATE FUNCTION locks() RETURNS void LANGUAGE sql AS 'INSERT INTO public.locked DEFAULT VALUES';
CREATE FUNCTION runs_into() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('public.locks'); END $$));
$node->safe_psql('postgres', q(SET ROLE regress_flood; SELECT durable.start_new('public.runs_into', instance_id => 'runs-' || i) FROM generate_series(1, 50) i));
poll_until($node, q(SELECT count(*) = 50 FROM durable.instances WHERE instance_id LIKE 'runs-%' AND runtime_status = 'Completed'), 'an activity known to be quick');
$node->safe_psql('postgres', q(SET ROLE regress_other; SELECT durable.start_new('public.sleeps', instance_id => 'sleeps')));
poll_until($node, q(SELECT count(*) = 1 FROM durable.workers WHERE role = 'regress_other'::regrole AND instance_id = 'sleeps'), 'one place is taken');
my $locker = session('BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE');
my $holder = $locker->query_safe('SELECT pg_backend_pid()');
$offset = -s $node->logfile;
# the last place is for another role, so these share one: each waits for the lock for a second, again and again
$node->safe_psql('postgres', q(SET ROLE regress_flood; SELECT durable.start_new('public.runs_into', instance_id => 'locked-' || i) FROM generate_series(1, 5) i));
poll_until($node, q(SELECT waiting > '2 s' AND ready_alone > 0 FROM durable.stats WHERE role = 'regress_flood'::regrole), 'durable.stats sees that a worker waits for a lock');
# a third role takes the last place, and has more
$node->safe_psql('postgres', q(SELECT durable.start_new('sleeps', instance_id => 'third-' || i) FROM generate_series(1, 2) i));
poll_until($node, q(SELECT waiting_alone > '1 s' FROM durable.stats WHERE role = current_user::regrole), 'and that there is no place');
log_comes($offset, qr/^durable scheduler\|LOG:  work of role "regress_flood" in database "postgres" has waited for a lock for 1\d s\n.*DETAIL:  Worker \d+ waits for RowExclusiveLock on relation \d+ of database \d+ \("locked"\); processes that hold it or come first: $holder\. /m,
	'a wait for a lock is logged');
log_comes($offset, qr/^durable scheduler\|LOG:  work of role "\w+" in database "postgres" has waited for a long place for 1\d s\n.*DETAIL:  durable.max_long_activities is 3\./m,
	'a wait for a place is logged');
is(count_lines($offset, qr/ of role .* has waited/), 2, '... nothing else');
is($node->safe_psql('postgres', q(SELECT waiting IS NULL, ready_activities FROM durable.stats WHERE role = 'regress_other'::regrole)), 't|0',
	'an activity that takes long is no work that waits');
log_comes($flood, qr/^durable scheduler\|LOG:  123 further instances of role "regress_flood" failed in the last minute$/m, 'the number of failures that were too many is logged');
is(count_lines($offset, qr/ of role .* has waited/), 2, 'a wait that goes on is not told again') or diag(join "\n", logged($offset) =~ /.* of role .*\n.*/g);
$locker->query_safe('ROLLBACK');
$locker->quit;
ends("locked-$_", 'Completed', 'it goes on when the lock has gone') foreach (1 .. 5);
$node->safe_psql('postgres', q(SELECT durable.terminate(id, 'enough', cancel_activities => true) FROM unnest('{sleeps,third-1,third-2}'::text[]) id));
ends($_, 'Terminated', 'nothing runs') foreach ('sleeps', 'third-1', 'third-2');
my $table = session('BEGIN; LOCK TABLE durable_internal.instances IN ACCESS EXCLUSIVE MODE');
log_comes($offset, qr/^durable scheduler\|LOG:  process \d+ still waiting for \w+ on relation/m, 'the scheduler says so when it waits for a lock');
$table->query_safe('ROLLBACK');
$table->quit;

#
# Leaving: idle and busy workers, for every reason. The busy one has slept in an activity since then.
#
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach ('dropped', 'renamed', 'excluded');
$node->safe_psql($_, $setup) foreach ('dropped', 'renamed', 'excluded');
reload('durable.max_workers' => 12);
reload('durable.max_long_activities' => 16);
foreach my $database ('dropped', 'renamed', 'excluded')
{
	$node->safe_psql($database, q(SELECT durable.grant_usage('regress_flood'); SELECT durable.start_new('sleeps', instance_id => 'sleeps');
		SET ROLE regress_flood; SELECT durable.start_new('public.quick', instance_id => 'quick')));
	ends('quick', 'Completed', "$database: an idle worker", $database);
	poll_until($node, q(SELECT count(*) > 0 FROM durable.workers WHERE instance_id = 'sleeps' AND place = 'long' AND task_id IS NOT NULL), '... and a busy one', 't', $database);
}
my $none = sub { "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '$_[0]' AND backend_type LIKE 'durable%'" };
my $leave = -s $node->logfile;
$node->safe_psql('postgres', 'DROP DATABASE dropped');
$node->safe_psql('postgres', 'ALTER DATABASE renamed RENAME TO again');
poll_until($node, q[SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'again' AND backend_type = 'durable scheduler'], 'the engine is back under the new name');
reload('durable.databases' => "'postgres, again'");
poll_until($node, $none->('excluded'), 'durable.databases keeps the engine out');
# it still sleeps, and is not waited for
is($node->safe_psql('again', q(SELECT count(*) FROM durable.workers WHERE instance_id = 'sleeps')), 1, 'an activity runs');
$node->safe_psql('again', 'DROP EXTENSION durable CASCADE');
poll_until($node, $none->('again'), 'DROP EXTENSION ends the engine');
$node->safe_psql('again', 'CREATE EXTENSION durable');
log_comes($leave, qr/durable stops in database "again".*\n.* runs in database "again"\n/s, 'CREATE EXTENSION starts it');
is(count_lines($leave, qr/ runs in database "again"/), 1, 'the log says that the engine runs when that is news');

$node->safe_psql('postgres', q(SET ROLE regress_flood; SELECT durable.start_new('public.quick', instance_id => 'flood-idle');
	SET ROLE regress_other; SELECT durable.start_new('public.quick', instance_id => 'other-idle')));
ends($_, 'Completed', $_) foreach ('flood-idle', 'other-idle');
$node->safe_psql('postgres', q(DROP OWNED BY regress_other; DROP ROLE regress_other; ALTER ROLE regress_flood NOLOGIN;
	SELECT durable.start_new('quick', instance_id => 'rouse')));
reload('durable.worker_idle_timeout' => '0');
poll_until($node, q(SELECT count(*) = 0 FROM durable.workers), 'idle workers leave')
	or diag($node->safe_psql('postgres', 'SELECT * FROM durable.workers'));

# One whose role has just gone when it connects: the scheduler may have been quicker, then there is none.
for my $i (1 .. 10)
{
	$node->safe_psql('postgres', qq(CREATE ROLE regress_brief LOGIN; SELECT durable.grant_usage('regress_brief'); SET ROLE regress_brief;
		SELECT durable.start_new('public.quick', instance_id => 'brief-$i'); RESET ROLE; DROP OWNED BY regress_brief; DROP ROLE regress_brief));
	poll_until($node, "SELECT runtime_status IN ('Completed', 'Failed') FROM durable.get_status('brief-$i')", 'the instance of a role that was there for a moment ends');
}

$node->safe_psql('postgres', q(SELECT durable.start_new('sleeps', instance_id => 'to the end')));
poll_until($node, q(SELECT count(*) > 0 FROM durable.workers WHERE instance_id = 'to the end' AND place = 'long' AND task_id IS NOT NULL), 'a worker is busy');
$node->stop('fast');
my $log = logged($leave);
is(join("\n", $log =~ /^durable \w+\|(?:FATAL|ERROR|PANIC).*/mg), '', 'all have left without FATAL');
unlike(logged(0), qr/PANIC|TRAP:|was terminated by signal/, 'nothing has crashed');
done_testing();
