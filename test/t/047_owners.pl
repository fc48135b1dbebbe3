# Owners that do not exist: roles that were dropped, with instances in every state, and roles that are missing where a
# dump is restored.  Nothing runs as a role that has only the number of another, and what waits goes on when it can.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# Whatever happens at once does not wait for the next poll.
my $conf = "durable.poll_interval = 1h\nmax_worker_processes = 40\ndurable.max_workers = 20\nlog_min_messages = log\n";
my $node = durable_node('owners', conf => $conf);
my $definitions = q(
CREATE TABLE done (instance_id text, step text, by name DEFAULT current_user);
GRANT ALL ON done TO PUBLIC;
CREATE FUNCTION note(step text) RETURNS text LANGUAGE sql AS
	$$ INSERT INTO public.done (instance_id, step) VALUES (durable.instance_id(), step) RETURNING by $$;
CREATE FUNCTION blocked(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN n; END $$;
CREATE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'not yet'; END $$;
CREATE FUNCTION queued() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RETURN cardinality(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_activity('public.blocked', to_jsonb(n)) FROM generate_series(1, 5) n)));
END $$;
CREATE FUNCTION brief() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.sleep('10 ms'); RETURN 1; END $$;
CREATE FUNCTION timer() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.sleep('1 h'); RETURN 1; END $$;
CREATE FUNCTION retried() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('public.broken', NULL, durable.retry_policy(2, '1 h')); END $$;
CREATE FUNCTION event() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.wait_for_external_event('go');
	RETURN durable.call_activity('public.note', '"went"');
END $$;
CREATE FUNCTION parent() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_sub_orchestrator('public.event', instance_id => 'child'); END $$;
CREATE FUNCTION whole() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('public.note', '"whole"'); END $$;
);
$node->safe_psql('postgres', $definitions);

sub logged
{
	my ($where, $pattern) = @_;
	return q[SELECT pg_read_file('] . server_log($where) . qq[') ~ \$\$$pattern\$\$];
}

#
# A role is dropped that has instances of every kind.
#
$node->safe_psql('postgres', q(
CREATE ROLE regress_left LOGIN;
CREATE ROLE regress_heir LOGIN;
SELECT durable.grant_usage('regress_left'), durable.grant_usage('regress_heir')));
my $left = $node->safe_psql('postgres', q(SELECT 'regress_left'::regrole::oid));
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(4711)');
$node->safe_psql('postgres', q(
SET ROLE regress_left;
SELECT durable.start_new(name, instance_id => name) FROM unnest('{queued,timer,retried,event,parent,whole}'::text[]) name;
SELECT durable.start_new('event', instance_id => 'suspended');
SELECT durable.start_new('event', instance_id => 'delayed', start_at => now() + '1 hour');
-- more than fail before the scheduler does something else
SELECT count(durable.start_new('event', instance_id => 'many-' || i)) FROM generate_series(1, 300) i));
poll_until($node, q(
SELECT (SELECT count(*) = 303 FROM durable.history WHERE event_type = 'EventSubscribed') AND (SELECT count(*) = 1 FROM durable.history WHERE event_type = 'TaskRetried')
   AND (SELECT count(*) = 5 AND count(pid) > 0 FROM durable.activities WHERE name = 'public.blocked') AND (SELECT count(*) = 2 FROM durable.timers WHERE fire_at > now() + '50 min' AND task_id IS NOT NULL)
   AND (SELECT completed_time IS NOT NULL FROM durable.get_status('whole'))), 'instances of every kind');
$node->safe_psql('postgres', q(SELECT durable.suspend('suspended')));
poll_until($node, q(SELECT runtime_status FROM durable.get_status('suspended')), 'one is suspended', 'Suspended');
$node->safe_psql('postgres', q(DROP OWNED BY regress_left; DROP ROLE regress_left));
poll_until($node, q(SELECT count(*) FROM durable.instances WHERE runtime_status NOT IN ('Failed', 'Completed')), 'dropped: all fail at once', 0)
  or diag($node->safe_psql('postgres', q(SELECT instance_id, runtime_status FROM durable.instances WHERE completed_time IS NULL)));
is($node->safe_psql('postgres', q(
SELECT DISTINCT failure ->> 'sqlstate', failure ->> 'message' FROM durable.instances WHERE instance_id <> 'whole')),
	"42704|the role with OID $left that owned the instance was dropped", 'with the reason');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.instances WHERE runtime_status = 'Failed')), 308, 'all of them');
poll_until($node, q(SELECT count(*) FROM durable_internal.workers()), 'its workers have left', 0);
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable_internal.timers)), 0, 'no timer fires any more');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable_internal.tasks)), 5, 'queued activities are kept');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable_internal.violations)), 0, 'no invariant is broken');
is($node->safe_psql('postgres', q(SELECT DISTINCT owner_name FROM durable.instances)), "(dropped role $left)", 'the name says so');

# A session that has outlived its role starts more than fail at a time, and nobody has to wait for the scheduler.
$node->safe_psql('postgres', q(CREATE ROLE regress_late LOGIN; SELECT durable.grant_usage('regress_late')));
my $late = $node->background_psql('postgres', extra_params => [ '-U', 'regress_late' ]);
$late->query_safe(q(BEGIN; SELECT count(durable.start_new('event', instance_id => 'late-' || i)) FROM generate_series(1, 20000) i));
$node->safe_psql('postgres', q(DROP OWNED BY regress_late; DROP ROLE regress_late));
my $bar = 1.5 * seconds_bar($node);
$late->query_safe('COMMIT');
$late->quit;
my $begun = time;
$node->safe_psql('postgres', q(SET ROLE regress_heir; SELECT durable.start_new('brief', instance_id => 'brief')));
poll_until($node, q(SELECT runtime_status FROM durable.get_status('brief')), 'a timer of another role fires meanwhile', 'Completed');
cmp_ok(time - $begun, '<', $bar, 'in time');
poll_until($node, q(SELECT count(*) FROM durable.instances WHERE instance_id ~ 'late' AND runtime_status <> 'Failed'), 'they all fail', 0);
$node->safe_psql('postgres', q(SELECT count(*) FROM unnest(ARRAY(SELECT instance_id FROM durable.instances WHERE instance_id ~ '^(late|brief)')) id, durable.purge_instance_history(id)));

# They can be given to another role, and go on.
my ($ret, $out, $err) = $node->psql('postgres', "SET ROLE regress_heir; SELECT durable.reassign_owner('(dropped role $left)', 'regress_heir')", extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($err, qr/42501/, 'only a superuser reassigns');
for (['regress_nobody', 'regress_heir', 42704], ['(dropped role x)', 'regress_heir', '22P02'], [$left, 'regress_heir', 42704], ['"', 'regress_heir', '22P02'],
	['-', 'regress_heir', '42704'], ["(dropped role $left)", $left, '42704'])
{
	($ret, $out, $err) = $node->psql('postgres', "SELECT durable.reassign_owner('$_->[0]', '$_->[1]')", extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	like($err, qr/$_->[2]/, "not from $_->[0] to $_->[1]");
}
is($node->safe_psql('postgres', "SELECT durable.reassign_owner('(dropped role $left)', 'regress_heir')"), 309, 'all are reassigned');
is($node->safe_psql('postgres', q(SET ROLE regress_heir; SELECT count(*) FROM durable.instances WHERE owner = 'regress_heir'::regrole)), 309, 'who sees them');
$node->safe_psql('postgres', q(SET ROLE regress_heir; SELECT durable.rewind('event'), durable.raise_event('event', 'go')));
poll_until($node, q(SELECT output #>> '{}' FROM durable.get_status('event')), 'and one goes on', 'regress_heir');
$node->safe_psql('postgres', q(SET ROLE regress_heir; SELECT durable.rewind('parent'), durable.rewind('queued')));
poll_until($node, q(SELECT runtime_status FROM durable.get_status('child')), 'a child goes on with its parent', 'Running');
$node->safe_psql('postgres', q(SET ROLE regress_heir; SELECT durable.raise_event('child', 'go')));
poll_until($node, q(SELECT output #>> '{}' FROM durable.get_status('parent')), 'which gets its result', 'regress_heir');
$lock->query_safe('SELECT pg_advisory_unlock(4711)');
poll_until($node, q(SELECT output FROM durable.get_status('queued')), 'activities that were queued are run by the new owner', '5');

#
# A dropped role leaves a history and messages that are large.  The scheduler reads neither, and what failed and was handled
# before is known all the same.
#
SKIP:
{
	my $peak = sub {
		my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable scheduler'));
		return slurp_file("/proc/$pid/status") =~ /VmHWM:\s+(\d+) kB/ ? $1 / 1024 : 0;
	};
	my $before = -r "/proc/$$/status" ? $peak->() : 0;
	my $big;

	skip 'no process status to read', 1 if $before == 0;
	$node->safe_psql('postgres', q(
CREATE ROLE regress_big LOGIN;
SELECT durable.grant_usage('regress_big');
CREATE FUNCTION big() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.create_timer(durable.now() + '1 h');
	BEGIN
		PERFORM durable.call_activity('public.broken');
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
	RETURN durable.call_activity('public.broken', NULL, durable.retry_policy(2, '1 h'));
END $$;
SET ROLE regress_big;
SELECT durable.start_new('big', instance_id => 'big');
SELECT durable.raise_event('big', 'part', to_jsonb(repeat('x', 20000000))) FROM generate_series(1, 8)));
	poll_until($node, q(SELECT count(*) = 8 FROM durable.history WHERE instance_id = 'big' AND event_type = 'EventRaised'), 'a large history');
	poll_until($node, q(SELECT count(*) = 2 FROM durable.timers WHERE instance_id = 'big'), 'and a pause before another attempt');
	$node->safe_psql('postgres', q(ALTER ROLE regress_big NOLOGIN; SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'regress_big'));
	$node->safe_psql('postgres', q(SELECT durable.raise_event('big', 'part', to_jsonb(repeat('x', 20000000))) FROM generate_series(1, 8)));
	$big = $node->safe_psql('postgres', q(SELECT 'regress_big'::regrole::oid));
	$node->safe_psql('postgres', q(DROP OWNED BY regress_big; DROP ROLE regress_big));
	poll_until($node, q(SELECT runtime_status FROM durable.get_status('big')), 'it fails', 'Failed');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM durable_internal.messages)), 8, 'its messages are kept');
	is($node->safe_psql('postgres', q(SELECT input FROM durable.history WHERE instance_id = 'big' AND event_type = 'ExecutionFailed')), '{"whole": true, "timers": "1,3"}', 'what a rewind has to know');
	cmp_ok($peak->() - $before, '<', 60, 'the scheduler has not read it, in MB');
	$node->safe_psql('postgres', qq(
SELECT durable.reassign_owner('(dropped role $big)', 'regress_heir');
CREATE OR REPLACE FUNCTION broken() RETURNS int LANGUAGE sql AS \$\$ SELECT 1 \$\$;
SET ROLE regress_heir;
SELECT durable.rewind('big')));
	poll_until($node, q(SELECT runtime_status FROM durable.get_status('big')), 'rewound as the heir it goes on', 'Completed');
	is($node->safe_psql('postgres', q(SELECT string_agg(task_id || ' ' || event_type, ', ' ORDER BY sequence_number) FROM durable.history WHERE instance_id = 'big' AND event_type ~ '^Task(Completed|Failed)')),
		'2 TaskFailed, 3 TaskCompleted', 'a failure that was handled stays handled, the attempt in the pause is made');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.history WHERE instance_id = 'big' AND event_type = 'EventRaised')), 16, 'no event is lost');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM durable_internal.violations)), 0, 'no invariant is broken');
	$node->safe_psql('postgres', q(SELECT durable.purge_instance_history('big');
CREATE OR REPLACE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'not yet'; END $$));
}

# A role that exists gives its instances away, as one transaction does or does not.
$node->safe_psql('postgres', q(
CREATE ROLE regress_next LOGIN;
SELECT durable.grant_usage('regress_next');
SET ROLE regress_heir;
SELECT durable.start_new('event', instance_id => 'given-' || i) FROM generate_series(1, 10) i));
poll_until($node, q(SELECT count(*) FROM durable.instances WHERE instance_id ~ 'given' AND runtime_status = 'Running'), 'ten wait', 10);
$node->safe_psql('postgres', q(
BEGIN; SELECT durable.reassign_owner('regress_heir', 'regress_next'); ROLLBACK;
SELECT durable.raise_event('given-1', 'go')));
poll_until($node, q(SELECT output #>> '{}' FROM durable.get_status('given-1')), 'rolled back: the old owner runs it', 'regress_heir');
is($node->safe_psql('postgres', q(SELECT durable.reassign_owner('regress_heir', 'regress_next'))), 319, 'reassigned');
$node->safe_psql('postgres', q(SELECT durable.raise_event('given-' || i, 'go') FROM generate_series(2, 10) i));
poll_until($node, q(SELECT string_agg(DISTINCT output #>> '{}', ' ') FROM durable.instances WHERE instance_id ~ 'given' AND instance_id <> 'given-1'), 'the new owner runs them', 'regress_next');
poll_until($node, q(SELECT count(*) FROM durable.instances WHERE instance_id ~ 'given' AND runtime_status = 'Completed'), 'all', 10);
$lock->quit;

#
# A dump, and a cluster in which roles are missing and a superuser has the number of one that was dropped.
#
my %role = (
	present => 'regress_present', absent => 'regress_absent', taken => 'regress_taken', renamed => 'regress_old', gone => 'regress_gone',
	number => '12345', mark => '(dropped role 16385)', spaced => 'a (dropped)', quoted => q(Regress "Q'), dash => '-');
$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('source', "CREATE EXTENSION durable; $definitions");
for my $kind (sort keys %role)
{
	my $name = '"' . $role{$kind} =~ s/"/""/gr . '"';
	$node->safe_psql('source', qq(
CREATE ROLE $name LOGIN;
GRANT $name TO CURRENT_USER;
SELECT durable.grant_usage(\$q\$$name\$q\$);
SELECT durable.set_quota(\$q\$$name\$q\$, history_length => 1000);
SET ROLE $name;
SELECT durable.start_new('event', instance_id => 'live-$kind'), durable.start_new('whole', instance_id => 'ended-$kind'),
	durable.start_new('event', instance_id => 'delayed-$kind', start_at => '2999-01-01');
INSERT INTO durable.schedules (schedule_name, cron_expression, name, search_path) VALUES ('daily', '0 0 * * *', 'whole', 'public')));
}
$node->safe_psql('source', q(SELECT durable.set_quota(NULL, live_instances => 100000)));
my $kinds = keys %role;
poll_until($node, q(SELECT count(*) FILTER (WHERE runtime_status = 'Running') || ' ' || count(*) FILTER (WHERE runtime_status = 'Completed') FROM durable.instances), 'instances of all roles', "$kinds $kinds", 'source');
my $gone = $node->safe_psql('source', q(SELECT 'regress_gone'::regrole::oid));

# A rename while the engine runs, a drop while it does not.
$node->safe_psql('source', 'ALTER ROLE regress_old RENAME TO regress_new');
$role{renamed} = 'regress_new';
$node->append_conf('postgresql.conf', "durable.databases = 'none'");
$node->restart;
$node->safe_psql('source', 'DROP OWNED BY regress_gone; DROP ROLE regress_gone');
is($node->safe_psql('source', q(SELECT runtime_status, owner::oid::text, owner_name FROM durable.get_status('live-gone') JOIN durable.instances USING (instance_id, runtime_status, owner))),
	"Running|$gone|(dropped role $gone)", 'a role was dropped and nothing has failed yet');
my $dir = PostgreSQL::Test::Utils::tempdir;
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", '-d', $node->connstr('source') ], 'dump');
$node->command_ok([ 'pg_dump', '-f', "$dir/plain", '-d', $node->connstr('source') ], 'dump, plain');
unlike(slurp_file("$dir/plain"), qr/^\d+\t\S+\t\S+\t[A-Z]\t\d/m, 'no owner is a number in it');

my $new = durable_node('owners_new', conf => $conf . "durable.databases = 'none'\n", extension => 0);
$new->stop;
$new->command_ok([ 'pg_resetwal', '-o', $gone, $new->data_dir ], 'the next role has the number of the dropped one');
$new->start;
$new->safe_psql('postgres', 'CREATE ROLE regress_intruder LOGIN SUPERUSER');
is($new->safe_psql('postgres', q(SELECT 'regress_intruder'::regrole::oid)), $gone, 'it is a superuser');
my @exist = qw(present mark spaced renamed dash);
$new->safe_psql('postgres', join ';', map { qq(CREATE ROLE "$role{$_}" LOGIN) } @exist);
# rights of a role that is missing cannot be restored, nor those of others on the same object: they are granted again
$new->command_ok([ 'pg_restore', '-x', '-e', '-d', $new->connstr('postgres'), "$dir/dump" ], 'restore');
$new->safe_psql('postgres', join ';', 'GRANT ALL ON done TO PUBLIC', map { qq(SELECT durable.grant_usage('"$role{$_}"')) } @exist);
is($new->safe_psql('postgres', 'SELECT count(*) FROM durable.instances'), 3 * $kinds, 'all instances are restored');
is($new->safe_psql('postgres', 'SELECT count(*) FROM durable.schedules'), $kinds, 'and schedules');
is($new->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.quotas'), $kinds + 1, 'and quotas');
my %shown = (%role, gone => "(dropped role $gone)");
for my $kind (sort keys %role)
{
	my $quoted = $kind eq 'gone' ? $shown{$kind} : $new->safe_psql('postgres', "SELECT quote_ident(\$q\$$role{$kind}\$q\$)");
	my $owner = (grep { $_ eq $kind } @exist) ? $quoted : '';
	is($new->safe_psql('postgres', "SELECT owner, owner_name FROM durable.instances WHERE instance_id = 'live-$kind'"), "$owner|$quoted", "$kind: owner");
	is($new->safe_psql('postgres', "SELECT DISTINCT owner FROM durable.schedules WHERE owner_name::text = \$q\$$quoted\$q\$"), $owner, "$kind: schedule");
}
is($new->safe_psql('postgres', q(SELECT count(*), count(role) FROM durable.quotas)), '6|5', 'only quotas of roles are shown, and those of all');
is($new->safe_psql('postgres', q(SET ROLE regress_present; SELECT string_agg(instance_id, ' ' ORDER BY instance_id) FROM durable.instances)), 'delayed-present ended-present live-present',
	'a role sees its own');

$new->append_conf('postgresql.conf', "durable.databases = ''");
$new->reload;
poll_until($new, q(SELECT runtime_status || ' ' || (failure ->> 'message') FROM durable.get_status('live-gone')), 'what nobody owns fails',
	"Failed the role with OID $gone that owned the instance was dropped");
poll_until($new, q(SELECT runtime_status FROM durable.get_status('delayed-gone')), 'also what has not begun', 'Failed');
$new->safe_psql('postgres', join ';', map { "SELECT durable.raise_event('live-$_', 'go')" } grep { $_ ne 'gone' } sort keys %role);
for my $kind (@exist)
{
	poll_until($new, "SELECT output #>> '{}' FROM durable.get_status('live-$kind')", "$kind: goes on", $role{$kind});
}
poll_until($new, logged($new, q(role "regress_absent" does not exist[^\n]*\n[^\n]*DETAIL:  2 instances that have not ended wait for the role\.)), 'the log says who is missing');
is(() = slurp_file($new->logfile) =~ /LOG:  durable cannot run instances in database "postgres": role "regress_absent" does not exist/g, 1, 'once');
is($new->safe_psql('postgres', q(SELECT runtime_status FROM durable.get_status('live-absent'))), 'Running', 'its instances wait');
is($new->safe_psql('postgres', "SELECT count(*) FROM durable.explain('$_-absent') l WHERE l LIKE 'No worker can run for regress_absent: the role does not exist; %'"), 1,
	"durable.explain says so, $_") for 'live', 'delayed';
is($new->safe_psql('postgres', q(SELECT count(*) FROM durable.workers w WHERE role = 'regress_intruder'::regrole OR role IS NULL)), 0, 'no worker is the intruder\'s');
for my $statement (q(SELECT durable.restart('ended-absent')), q(SELECT durable.restart('ended-gone')))
{
	($ret, $out, $err) = $new->psql('postgres', $statement, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	like($err, qr/42704/, "there is nobody for $statement");
}
is($new->safe_psql('postgres', q(SELECT count(*) FROM durable.query_instances(page_size => 1000))), 3 * $kinds, 'pages have them');
is($new->safe_psql('postgres', q(SET ROLE regress_present; SELECT count(*) FROM durable.query_instances())), 3, 'for who may see them');
is($new->safe_psql('postgres', q(SELECT runtime_status, owner FROM durable.wait_for_completion('live-absent', '1 ms'))), 'Running|', 'and so has a status');

# The role comes, with what it needs, as its instances go on at once.
$new->safe_psql('postgres', q(BEGIN; CREATE ROLE regress_absent LOGIN; SELECT durable.grant_usage('regress_absent'); COMMIT));
poll_until($new, q(SELECT output #>> '{}' FROM durable.get_status('live-absent')), 'CREATE ROLE lets them go on', 'regress_absent');
is($new->safe_psql('postgres', q(SET ROLE regress_absent; SELECT string_agg(instance_id, ' ' ORDER BY instance_id) FROM durable.instances)), 'delayed-absent ended-absent live-absent',
	'it sees all of its instances');
is($new->safe_psql('postgres', q(SET ROLE regress_absent; SELECT history_length FROM durable.quotas WHERE role = 'regress_absent'::regrole)), '1000', 'and has its quotas');
is($new->safe_psql('postgres', q(SET ROLE regress_absent; SELECT owner FROM durable.schedules WHERE schedule_name = 'daily')), 'regress_absent', 'and its schedule');

# A role gets the name.
$new->safe_psql('postgres', q(CREATE ROLE regress_other LOGIN; SELECT durable.grant_usage('regress_other'); ALTER ROLE regress_other RENAME TO regress_taken));
poll_until($new, q(SELECT output #>> '{}' FROM durable.get_status('live-taken')), 'so does ALTER ROLE RENAME', 'regress_taken');

# Another gets what is left.
for my $kind (qw(number quoted))
{
	my $quoted = $new->safe_psql('postgres', "SELECT owner_name FROM durable.instances WHERE instance_id = 'live-$kind'");
	($ret, $out, $err) = $new->psql('postgres', "SELECT durable.reassign_owner(\$q\$$quoted\$q\$, 'regress_present')");
	is($out, 3, "$kind: reassigned");
	$kind eq 'number' ? unlike($err, qr/NOTICE/, 'it has such a schedule itself') : pass('and quotas') ;
	poll_until($new, "SELECT output #>> '{}' FROM durable.get_status('live-$kind')", "$kind: goes on", 'regress_present');
}
is($new->safe_psql('postgres', 'SELECT count(*) FROM durable.instances WHERE owner IS NULL'), 3, 'only what nobody owns is left');
($ret, $out, $err) = $new->psql('postgres', "CREATE ROLE regress_rest; SELECT durable.reassign_owner('(dropped role $gone)', 'regress_rest')");
is($out, 3, 'and can be reassigned');
like($err, qr/NOTICE:  the schedules of \(dropped role $gone\) do not run yet/, 'the job of a schedule has to be made anew');
is($new->safe_psql('postgres', q(SELECT history_length FROM durable.quotas WHERE role = 'regress_rest'::regrole)), '1000', 'its quotas are there');
is($new->safe_psql('postgres', q(SELECT string_agg(DISTINCT by::text COLLATE "C", ' ' ORDER BY by::text COLLATE "C") FROM done WHERE step = 'went')),
	"(dropped role 16385) - a (dropped) regress_absent regress_new regress_present regress_taken", 'who has run what');
is($new->safe_psql('postgres', q(SELECT count(*) FROM durable_internal.violations)), 0, 'no invariant is broken');

# Into a server that runs, in one transaction; a role that comes while the restore is open is found by the next poll.
$new->append_conf('postgresql.conf', 'durable.poll_interval = 200ms');
$new->reload;
$new->safe_psql('postgres', 'DROP OWNED BY regress_taken; DROP ROLE regress_taken; CREATE ROLE "12345" LOGIN; CREATE ROLE "Regress ""Q\'" LOGIN; CREATE ROLE regress_gone');
$new->safe_psql('postgres', 'CREATE DATABASE live');
$new->command_ok([ 'pg_restore', '-x', '-e', '-1', '-d', $new->connstr('live'), "$dir/dump" ], 'restore while the engine runs');
$new->safe_psql('live', 'SELECT durable.grant_usage(oid::regrole) FROM pg_roles WHERE oid > 16383 AND NOT rolsuper; GRANT ALL ON done TO PUBLIC');
poll_until($new, q(SELECT runtime_status FROM durable.get_status('live-gone')), 'running: a role of the same name does not get what a dropped one had', 'Failed', 'live');
$new->safe_psql('live', q(SELECT durable.raise_event(instance_id, 'go') FROM durable.instances WHERE instance_id ~ '^live' AND runtime_status = 'Running'));
my $outcome = q(SELECT string_agg(DISTINCT runtime_status::text, ' ') FROM durable.instances WHERE instance_id ~ '^live' AND instance_id NOT IN ('live-gone', 'live-taken'));
poll_until($new, $outcome, 'running: the others go on', 'Completed', 'live');
is($new->safe_psql('live', q(SELECT runtime_status FROM durable.get_status('live-taken'))), 'Running', 'running: what is missing waits');
# Somebody keeps the engine from giving schedules to the role that comes, which makes such a one itself: a dump can be restored.
my $keeper = $new->background_psql('live');
$keeper->query_safe('BEGIN; LOCK TABLE durable.schedules IN ROW EXCLUSIVE MODE');
$new->safe_psql('live', q(BEGIN; CREATE ROLE regress_taken LOGIN; SELECT durable.grant_usage('regress_taken'); COMMIT;
SET ROLE regress_taken; INSERT INTO durable.schedules (schedule_name, cron_expression, name, search_path) VALUES ('daily', '0 0 * * *', 'event', 'public')));
is($new->safe_psql('live', q(SELECT count(*) FROM durable.schedules WHERE owner_name::text = 'regress_taken')), '2', 'a schedule of its own beside that which waits');
$new->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/both", '-d', $new->connstr('live') ], 'dump');
$keeper->query_safe('ROLLBACK');
$keeper->quit;
$new->safe_psql('postgres', 'CREATE DATABASE again');
$new->command_ok([ 'pg_restore', '-x', '-e', '-d', $new->connstr('again'), "$dir/both" ], 'restore');
is($new->safe_psql('again', q(SELECT name FROM durable.schedules WHERE owner = 'regress_taken'::regrole)), 'event', 'with the newer one');
poll_until($new, q(SELECT runtime_status FROM durable.get_status('live-taken')), 'running: and goes on', 'Completed', 'live');
is($new->safe_psql('live', q(SELECT owner_name FROM durable.instances WHERE instance_id = 'live-taken')), 'regress_taken', 'running: the role has what waited for it');
is($new->safe_psql('live', q(SELECT count(*) FROM durable_internal.violations)), 0, 'no invariant is broken');
$new->stop;
$node->stop;
unlike(slurp_file($_->logfile), qr/PANIC:|TRAP:|was terminated by signal|XX000/, 'nothing has crashed') for $node, $new;
done_testing();
