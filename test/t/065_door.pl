# Code of users runs behind one door: as the owner of the instance, read-only where it only checks, counted when it kills its
# process, and never in the scheduler.  No round waits for somebody else's transaction or for a lock that anybody may ask for.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use DurableTest;

my $node = durable_node('door', conf => "durable.max_workers = 4\ndurable.max_activity_deliveries = 3\nmax_prepared_transactions = 4");
$node->safe_psql('postgres', q[
CREATE ROLE regress_app LOGIN;
CREATE ROLE regress_tenant LOGIN;
CREATE ROLE regress_ghost LOGIN;
CREATE ROLE regress_mallory LOGIN;
GRANT CREATE ON SCHEMA public TO regress_app, regress_tenant, regress_mallory;
SELECT durable.grant_usage(r) FROM unnest('{regress_app,regress_tenant,regress_ghost,regress_mallory}'::regrole[]) r;
CREATE FUNCTION hello() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'hello'; END $$;
CREATE TABLE effects (what text);
GRANT ALL ON effects TO PUBLIC;
]);

# A statement as a role, through a connection of its own.
sub as
{
	my ($role, $sql) = @_;

	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

# Asserts that an instance that a role starts now ends at once.
my $bystanders = 0;
sub bystander
{
	my ($role, $what) = @_;
	my $id = 'bystander-' . ++$bystanders;
	my $bar = seconds_bar($node);
	my $begun = time;
	my $status = as($role, qq[SELECT durable.start_new('public.hello', instance_id => '$id');
SELECT runtime_status FROM durable.wait_for_completion('$id', '60 s')]);

	is($status, "$id\nCompleted", "$what: an instance beside it ends");
	cmp_ok(time - $begun, '<', $bar, 'at once');
}

sub ends
{
	my ($id, $expected, $what) = @_;

	poll_until($node, qq[SELECT completed_time IS NOT NULL FROM durable.instances WHERE instance_id = '$id'], "$what: it ends");
	return is($node->safe_psql('postgres', qq[SELECT concat_ws(' ', runtime_status, failure->>'sqlstate') FROM durable.instances WHERE instance_id = '$id']),
		$expected, $what);
}

#
# A role that waits for another attempt of a child is dropped: nobody's code runs in the scheduler, which is a superuser.
#
as('regress_mallory', q[
CREATE FUNCTION evil(v int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
		ALTER ROLE regress_mallory SUPERUSER;
	END IF;
	RETURN true;
EXCEPTION WHEN read_only_sql_transaction THEN
	RETURN true;
END $$;
CREATE DOMAIN edom AS int CHECK (evil(value));
CREATE FUNCTION evchild(i edom) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'x'; END $$;
CREATE FUNCTION evparent() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_sub_orchestrator('public.evchild', '5', retry => durable.retry_policy(max_attempts => 3, first_interval => '3 s'));
END $$;
]);
as('regress_ghost', q[SELECT durable.start_new('public.evparent', instance_id => 'ghost')]);
poll_until($node, q[SELECT count(*) = 1 FROM durable.history WHERE instance_id = 'ghost' AND event_type = 'TaskRetried'], 'a child has failed and is to be tried again');
# and one whose children a rewind is to start again
as('regress_ghost', q[SELECT durable.start_new('public.evparent', instance_id => 'ghost-rewound')]);
$node->safe_psql('postgres', q[SELECT count(pg_terminate_backend(pid, 5000)) FROM durable.workers WHERE role = 'regress_ghost'::regrole AND pid IS NOT NULL]);
$node->safe_psql('postgres', 'DROP OWNED BY regress_ghost; DROP ROLE regress_ghost');
ends('ghost', 'Failed 42704', 'a dropped role');
is($node->safe_psql('postgres', q[SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_mallory']), 'f', 'nothing of another role has run in the scheduler');

#
# The input of a child is converted behind the door.
#
as('regress_app', q[
CREATE FUNCTION counted(v int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN true; END $$;
CREATE DOMAIN deadly AS int CHECK (counted(value));
CREATE FUNCTION deadly_child(i deadly) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION deadly_parent() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_sub_orchestrator('deadly_child', '1'); END $$;
CREATE FUNCTION writes(v int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.effects VALUES ('check'); RETURN true; END $$;
CREATE DOMAIN writing AS int CHECK (writes(value));
CREATE FUNCTION writing_child(i writing) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION writing_parent() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_sub_orchestrator('writing_child', '1');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
CREATE FUNCTION slow(v int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN true; END $$;
CREATE DOMAIN slow_int AS int CHECK (slow(value));
CREATE FUNCTION slow_child(i slow_int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION slow_parent() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_sub_orchestrator('slow_child', '1');
EXCEPTION WHEN SQLSTATE '57014' THEN
	RETURN 'too slow';
END $$;
CREATE FUNCTION passing(v int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM public.effects WHERE what = 'passed') THEN
		RAISE EXCEPTION 'not yet' USING ERRCODE = 'cannot_connect_now';
	END IF;
	RETURN true;
END $$;
CREATE DOMAIN passing_int AS int CHECK (passing(value));
CREATE FUNCTION passing_child(i passing_int) RETURNS int LANGUAGE sql AS 'SELECT 7';
CREATE FUNCTION passing_parent() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_sub_orchestrator('passing_child', '1'); END $$;
]);
as('regress_app', q[SELECT durable.start_new('deadly_parent', instance_id => 'deadly')]);
ends('deadly', 'Failed OD007', 'a conversion that ends its process');
is(as('regress_app', q[SELECT durable.start_new('writing_parent', instance_id => 'writing');
SELECT output FROM durable.wait_for_completion('writing', '60 s')]), qq[writing\n"25006"], 'a conversion that writes is refused');
is($node->safe_psql('postgres', q[SELECT count(*) FROM effects]), 0, 'and has written nothing');
$node->safe_psql('postgres', q[ALTER SYSTEM SET durable.turn_timeout = '1s'; SELECT pg_reload_conf()]);
is(as('regress_app', q[SELECT durable.start_new('slow_parent', instance_id => 'slow');
SELECT output FROM durable.wait_for_completion('slow', '60 s')]), qq[slow\n"too slow"], 'a conversion that takes longer than a turn may');
$node->safe_psql('postgres', q[ALTER SYSTEM RESET durable.turn_timeout; SELECT pg_reload_conf()]);

# What passes is no failure: the turn is run again.
as('regress_app', q[SELECT durable.start_new('passing_parent', instance_id => 'passing')]);
poll_until($node, q[SELECT count(*) = 1 FROM durable.timers WHERE instance_id = 'passing'], 'a turn that met something that passes is put aside');
like($node->safe_psql('postgres', q[SELECT explain FROM durable.explain('passing')]), qr/Waits for its turn to be run again/, 'explain says so');
like(slurp_file($node->logfile), qr/durable puts off a turn of instance "passing": not yet/, 'and the log');
bystander('regress_app', 'a turn that is put aside');
$node->safe_psql('postgres', q[INSERT INTO effects VALUES ('passed')]);
ends('passing', 'Completed', 'when it has passed');

# One that is put aside can be terminated, and leaves nothing.
$node->safe_psql('postgres', q[DELETE FROM effects]);
as('regress_app', q[SELECT durable.start_new('passing_parent', instance_id => 'passing-2')]);
poll_until($node, q[SELECT count(*) = 1 FROM durable.timers WHERE instance_id = 'passing-2'], 'another one');
as('regress_app', q[SELECT durable.terminate('passing-2')]);
ends('passing-2', 'Terminated', 'a termination');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.timers]), 0, 'takes its timer along');

#
# Ids that another transaction holds.
#
as('regress_app', q[
CREATE FUNCTION child() RETURNS text LANGUAGE sql AS $$ SELECT 'child' $$;
CREATE FUNCTION parent(id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.call_sub_orchestrator('child', instance_id => id);
EXCEPTION WHEN SQLSTATE 'OD003' THEN
	RETURN 'taken';
END $$;
CREATE FUNCTION detached(id text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.start_sub_orchestrator('child', instance_id => id); RETURN 'started'; END $$;
CREATE FUNCTION endless(id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF id IS NULL THEN
		RETURN 'continued';
	END IF;
	PERFORM durable.start_sub_orchestrator('child', instance_id => id);
	PERFORM durable.continue_as_new();
END $$;
CREATE FUNCTION tells(id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	task durable.task := durable.schedule_sub_orchestrator('listens', instance_id => id);
BEGIN
	PERFORM durable.send_event(id, 'said', '"x"');
	RETURN durable.await(task);
END $$;
CREATE FUNCTION listens() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.wait_for_external_event('said'); END $$;
]);
my $holder = $node->background_psql('postgres', extra_params => [ '-U', 'regress_tenant' ]);
$holder->query_safe(q[BEGIN; SELECT durable.start_new('public.hello', instance_id => 'order-' || i) FROM generate_series(1, 12) i]);
as('regress_app', q[SELECT durable.start_new('parent', to_jsonb('order-' || i), 'parent-' || i) FROM generate_series(1, 8) i;
SELECT durable.start_new('detached', '"order-9"', 'detached'), durable.start_new('endless', '"order-10"', 'endless'),
       durable.start_new('tells', '"order-11"', 'tells'), durable.start_new('parent', '"order-12"', 'parent-12')]);
poll_until($node, q[SELECT count(DISTINCT instance_id) = 12 FROM durable.timers], 'all that want a held id are put aside');
bystander('regress_app', 'held ids');
as('regress_app', q[SELECT durable.terminate('parent-1')]);
ends('parent-1', 'Terminated', 'one of them is terminated');
is($node->safe_psql('postgres', q[SELECT count(*) FROM pg_stat_activity WHERE application_name = 'durable worker' AND wait_event_type = 'Lock']), 0, 'no worker waits for a lock');
# each process says so once in a while
poll_until($node, q[SELECT pg_read_file('] . server_log($node) . q[') ~ 'durable puts off a turn of instance "[a-z]+-?\d*": the id "order-\d+" is held by another transaction'], 'the log says what is in the way');
$holder->query_safe('SAVEPOINT s; ROLLBACK');
$holder->quit;
ends("parent-$_", 'Completed', 'they go on when it rolls back') foreach (2 .. 8, 12);
ends('detached', 'Completed', 'one that does not wait for its child');
ends('endless', 'Completed', 'one that continues as new');
ends('order-10', 'Completed', 'whose child runs');
ends('tells', 'Completed', 'one that sends its child an event');

# A prepared transaction holds ids as well, and commits.
$node->safe_psql('postgres', q[BEGIN; SELECT durable.start_new('hello', instance_id => 'prepared-1'); PREPARE TRANSACTION 'held']);
as('regress_app', q[SELECT durable.start_new('parent', '"prepared-1"', 'parent-prepared')]);
poll_until($node, q[SELECT count(*) = 1 FROM durable.timers WHERE instance_id = 'parent-prepared'], 'a prepared transaction holds an id');
bystander('regress_app', 'a prepared transaction');
$node->safe_psql('postgres', q[COMMIT PREPARED 'held']);
ends('parent-prepared', 'Completed', 'the id is taken in the end');
is($node->safe_psql('postgres', q[SELECT output FROM durable.instances WHERE instance_id = 'parent-prepared']), '"taken"', 'which is the failure of the child');

# An ended instance that somebody else is removing.
as('regress_app', q[SELECT durable.start_new('hello', instance_id => 'purged-1')]);
ends('purged-1', 'Completed', 'an instance');
$holder = $node->background_psql('postgres');
$holder->query_safe(q[BEGIN; SELECT durable.purge_instance_history('purged-1')]);
as('regress_app', q[SELECT durable.start_new('parent', '"purged-1"', 'parent-purged')]);
poll_until($node, q[SELECT count(*) = 1 FROM durable.timers WHERE instance_id = 'parent-purged'], 'a transaction that removes an instance holds its id');
bystander('regress_app', 'a removal');
$holder->query_safe('COMMIT');
$holder->quit;
ends('parent-purged', 'Completed', 'the id is free then');

# An activity that starts an instance whose id is held waits for nobody either: it is undone and tried again.
as('regress_app', q[
CREATE FUNCTION places(id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.effects VALUES ('placed ' || id);
	RETURN durable.start_new('public.hello', instance_id => id);
END $$;
CREATE FUNCTION asks(id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.start_new('public.hello', instance_id => id);
EXCEPTION WHEN lock_not_available THEN
	RETURN 'held';
END $$;
CREATE FUNCTION wraps(id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN durable.start_new('public.hello', instance_id => id);
EXCEPTION WHEN lock_not_available THEN
	RAISE EXCEPTION 'not now';
END $$;
CREATE FUNCTION calls(input jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity(input->>0, input->1); END $$;
CREATE FUNCTION calls_many(id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN array_length(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('places', to_jsonb(id || '-' || i)) FROM generate_series(1, 3) i)), 1);
END $$;
SELECT durable.start_new('public.hello', instance_id => 'place-5');
]);
ends('place-5', 'Completed', 'an instance that is to be replaced');
$holder = $node->background_psql('postgres', extra_params => [ '-U', 'regress_tenant' ]);
$holder->query_safe(q[BEGIN; SELECT durable.start_new('public.hello', instance_id => 'place-' || i) FROM unnest('{1,2,3,4-1,4-2,4-3}'::text[]) i]);
my $purger = $node->background_psql('postgres');
$purger->query_safe(q[BEGIN; SELECT durable.purge_instance_history('place-5')]);
as('regress_app', q[SELECT durable.start_new('calls', '["places", "place-1"]', 'places'), durable.start_new('calls', '["asks", "place-2"]', 'asks'),
	durable.start_new('calls', '["wraps", "place-3"]', 'wraps'), durable.start_new('calls_many', '"place-4"', 'calls-many'), durable.start_new('calls', '["places", "place-5"]', 'replaces')]);
ends('asks', 'Completed', 'an activity that handles the error');
is($node->safe_psql('postgres', q[SELECT output FROM durable.get_status('asks')]), '"held"', 'is not tried again');
ends('wraps', 'Failed P0001', 'nor one that makes another error of it');
poll_until($node, q[SELECT count(DISTINCT instance_id) = 3 FROM durable.history WHERE event_type = 'TaskRetried' AND instance_id IN ('places', 'calls-many', 'replaces')],
	'the others are put off');
bystander('regress_app', 'activities that want held ids');
is($node->safe_psql('postgres', q[SELECT count(*) FROM pg_stat_activity WHERE application_name = 'durable worker' AND wait_event_type = 'Lock']), 0, 'no worker waits for a lock');
$holder->query_safe('ROLLBACK');
$holder->quit;
$purger->query_safe('ROLLBACK');
$purger->quit;
ends($_, 'Completed', "$_: it goes on") foreach qw(places calls-many replaces);
is($node->safe_psql('postgres', q[SELECT count(*), count(DISTINCT what) FROM effects WHERE what LIKE 'placed %']), '5|5', 'its effects are there once');

#
# The table of schedules, which whoever may write to it may also lock.  The scheduler looks into it when a role comes.
#
as('regress_app', q[CREATE FUNCTION sleeps() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.sleep('10 ms'); RETURN 'slept'; END $$]);
$node->safe_psql('postgres', 'GRANT ALL ON durable.schedules TO regress_tenant');
$holder = $node->background_psql('postgres', extra_params => [ '-U', 'regress_tenant' ]);
$holder->query_safe('BEGIN; LOCK TABLE durable.schedules IN ACCESS EXCLUSIVE MODE');
foreach my $how ('open', 'prepared')
{
	my $bar = 2.5 * seconds_bar($node);
	my $begun = time;

	$node->safe_psql('postgres', "CREATE ROLE regress_$how LOGIN; SELECT durable.grant_usage('regress_$how')");
	bystander("regress_$how", "a lock on the schedules in an $how transaction");
	as('regress_app', "SELECT durable.start_new('sleeps', instance_id => 'slept-$how')");
	ends("slept-$how", 'Completed', 'a timer fires');
	cmp_ok(time - $begun, '<', $bar, 'at once');
	$holder->query_safe("PREPARE TRANSACTION 'locked'") if $how eq 'open';
}
$holder->quit;
$node->safe_psql('postgres', "ROLLBACK PREPARED 'locked'");

#
# Locks that anybody may ask for, while an activity holds those of its round.
#
as('regress_tenant', q[
CREATE FUNCTION nap(key int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(key); END $$;
CREATE FUNCTION naps(key int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('nap', to_jsonb(key)); RETURN 'woken'; END $$;
]);
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(42)');
as('regress_tenant', q[SELECT durable.start_new('naps', '42', 'naps')]);
poll_until($node, q[SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted], 'an activity waits in its round');
my @commands = (
	'DROP EXTENSION durable', 'DROP EXTENSION durable CASCADE', 'ALTER EXTENSION durable UPDATE', 'ALTER EXTENSION durable SET SCHEMA public',
	'ALTER EXTENSION durable ADD FUNCTION public.hello()', 'ALTER EXTENSION durable DROP VIEW durable.instances', "COMMENT ON EXTENSION durable IS 'x'",
	'DROP SCHEMA durable CASCADE', 'DROP SCHEMA durable_internal CASCADE', 'ALTER SCHEMA durable_internal RENAME TO x', 'DROP FUNCTION durable.instance_id()',
	'ALTER FUNCTION durable.instance_id() OWNER TO regress_tenant', 'DROP TYPE durable.task CASCADE', 'DROP VIEW durable.instances CASCADE',
	'LOCK TABLE durable.instances IN ACCESS EXCLUSIVE MODE', 'LOCK TABLE durable_internal.instances IN ACCESS EXCLUSIVE MODE',
	'LOCK TABLE durable_internal.history', 'TRUNCATE durable_internal.messages', 'DROP TABLE durable_internal.tasks', 'ALTER TABLE durable_internal.timers ADD x int',
	'CREATE TRIGGER t BEFORE INSERT ON durable_internal.instances EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE INDEX ON durable_internal.instances (name)', 'VACUUM FULL durable_internal.instances', 'CLUSTER durable_internal.instances', 'REINDEX TABLE durable_internal.instances',
	'REINDEX SCHEMA durable_internal', 'DROP DATABASE postgres', 'ALTER DATABASE postgres RENAME TO x', 'ALTER DATABASE postgres SET TABLESPACE pg_default',
	'DROP ROLE regress_app', 'DROP OWNED BY regress_app', 'REASSIGN OWNED BY regress_app TO regress_tenant', 'DROP LANGUAGE plpgsql CASCADE', 'LOCK TABLE pg_catalog.pg_proc',
	'SELECT pg_advisory_lock(classid::int, objid::int) FROM pg_locks WHERE locktype = \'object\' AND pid <> pg_backend_pid()');
foreach my $command (@commands)
{
	my ($in, $out, $err) = ('', '', '');
	my $session = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-U', 'regress_tenant', '-c', $command ],
		'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	# until it waits or has been refused
	$session->pump_nb;
	poll_until($node, q[SELECT count(*) = 0 OR bool_or(wait_event_type = 'Lock') FROM pg_stat_activity WHERE usename = 'regress_tenant' AND backend_type = 'client backend'], $command);
	bystander('regress_app', $command);
	$node->safe_psql('postgres', q[SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = 'regress_tenant' AND backend_type = 'client backend']);
	$session->finish;
}
$lock->query_safe('SELECT pg_advisory_unlock(42)');
$lock->quit;
ends('naps', 'Completed', 'the activity');
# An administrator's activity may do such a thing: it does not wait for its own worker.
$node->safe_psql('postgres', q[
CREATE FUNCTION updates() RETURNS text LANGUAGE plpgsql AS $$ BEGIN ALTER EXTENSION durable UPDATE; RETURN 'done'; END $$;
CREATE FUNCTION maintains() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('updates') #>> '{}'; END $$;
SELECT durable.start_new('maintains', instance_id => 'maintains')]);
ends('maintains', 'Completed', 'an activity updates the extension');
bystander('regress_app', 'after it');

#
# The server takes no writes for a while.
#
as('regress_app', q[
CREATE FUNCTION effect() RETURNS text LANGUAGE sql AS $$ INSERT INTO public.effects VALUES (durable.task_id()) RETURNING 'done' $$;
CREATE FUNCTION writer() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('effect'); END $$;
CREATE FUNCTION writers() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.when_all(ARRAY(SELECT durable.schedule_activity('effect') FROM generate_series(1, 40)));
	RETURN 'all';
END $$;
]);
$node->safe_psql('postgres', q[DELETE FROM effects]);
as('regress_app', q[SELECT durable.start_new('writer', instance_id => 'first')]);
ends('first', 'Completed', 'an activity that writes');
$node->safe_psql('postgres', q[ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()]);
$node->poll_query_until('postgres', 'SHOW default_transaction_read_only', 'on');
as('regress_app', q[SET default_transaction_read_only = off;
SELECT durable.start_new('writer', instance_id => 'writer'), durable.start_new('writers', instance_id => 'writers')]);
poll_until($node, q[SELECT count(*) = 1 FROM durable.history WHERE instance_id = 'writer' AND event_type = 'TaskRetried' AND failure->>'sqlstate' = '25006'], 'an activity is put off');
poll_until($node, q[SELECT count(*) = 40 FROM durable.history WHERE instance_id = 'writers' AND event_type = 'TaskRetried' AND failure->>'sqlstate' = '25006'], 'so are queued ones');
is($node->safe_psql('postgres', q[SELECT state, attempt, failure->>'sqlstate' FROM durable.tasks('writer')]), 'pausing|1|25006', 'durable.tasks says why');
like(slurp_file($node->logfile), qr/durable puts off activity "effect" of instance "writers?": cannot execute INSERT in a read-only transaction/, 'and the log');
as('regress_app', q[SET default_transaction_read_only = off; SELECT durable.start_new('writer', instance_id => 'ended'), durable.start_new('writer', instance_id => 'failed')]);
poll_until($node, q[SELECT count(*) = 2 FROM durable.history WHERE instance_id IN ('ended', 'failed') AND event_type = 'TaskRetried'], 'others are put off');
as('regress_app', q[SET default_transaction_read_only = off; SELECT durable.terminate('ended')]);
ends('ended', 'Terminated', 'one is terminated meanwhile');
# a second try says nothing more in the history
poll_until($node, q[SELECT count(*) > 0 FROM durable.timers t JOIN durable.history h USING (instance_id) WHERE instance_id = 'writer' AND h.event_type = 'TaskRetried' AND t.fire_at > h.event_time + interval '1.5 s'], 'it is tried again');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.history WHERE instance_id = 'writer' AND event_type = 'TaskRetried']), 1, 'which the history says once');
$node->safe_psql('postgres', q[ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()]);
ends('writer', 'Completed', 'and goes on when the server takes writes again');
ends('writers', 'Completed', 'with those of the queue');
ends('failed', 'Completed', 'all of them');
is($node->safe_psql('postgres', q[SELECT count(*) FROM effects]), 43, 'each effect once');

#
# A key that was hinted to the wrong role.
#
$node->safe_psql('postgres', q[CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM durable.wait_for_external_event('go'); RETURN concat(durable.call_sql('SELECT current_user AS me')); END $$]);
as('regress_app', q[SELECT durable.start_new('public.who', instance_id => 'whose')]);
poll_until($node, q[SELECT runtime_status = 'Running' FROM durable.instances WHERE instance_id = 'whose'], 'an instance waits');
# messages that are committed before their instance, as a restore does
$node->safe_psql('postgres', q[INSERT INTO durable_internal.messages (key, id, kind, time, name, payload) VALUES (7, 1, 5, now(), 'go', '1')]);
$node->restart;
bystander('regress_app', 'a message for an instance that does not exist');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.workers WHERE role = 10::oid::regrole]), 0, 'no worker of a superuser is started for it');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable_internal.messages WHERE key = 7]), 1, 'it waits for its instance');
$node->safe_psql('postgres', q[
BEGIN;
INSERT INTO durable_internal.history SELECT 7, seq, event, event_time, task_id, attempt, name, input, result FROM durable_internal.history h
 WHERE h.key = (SELECT key FROM durable_internal.instances WHERE instance_id = 'whose');
INSERT INTO durable_internal.instances SELECT (jsonb_populate_record(i, '{"key": 7, "instance_id": "restored", "execution_id": "00000000-0000-0000-0000-000000000000"}')).*
  FROM durable_internal.instances i WHERE instance_id = 'whose';
COMMIT;
]);
ends('restored', 'Completed', 'an instance that comes later');
like($node->safe_psql('postgres', q[SELECT output FROM durable.instances WHERE instance_id = 'restored']), qr/regress_app/, 'runs as its owner');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.workers WHERE role = 10::oid::regrole]), 0, 'and nobody else');

is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal|XX000/, 'nothing has crashed');
$node->stop;
done_testing();
