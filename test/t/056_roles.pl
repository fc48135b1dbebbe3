# What administrators do to roles while these have live instances: each instance goes on, fails, or waits with a reason
# that its owner can see; the others go on; and when the obstacle has gone it does too.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('roles', conf => "durable.max_workers = 60\nmax_worker_processes = 80\ndurable.worker_idle_timeout = 1h\nlog_min_messages = log");
my @roles = qw(fine nologin noconnect nogroup roomy expired revoked noorchestrator noactivity noschema renamed dropped leaving adjusted demoted);

$node->safe_psql('postgres', join "\n", (map { "CREATE ROLE $_ LOGIN;" } @roles), q[
CREATE ROLE connectors;
GRANT connectors TO nogroup;
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO connectors, ] . join(', ', grep { $_ ne 'nogroup' } @roles) . q[;
ALTER ROLE demoted SUPERUSER;
CREATE TABLE effects (instance_id text, task_id int, PRIMARY KEY (instance_id, task_id));
], map { qq[
CREATE SCHEMA "s_$_";
GRANT USAGE ON SCHEMA "s_$_" TO $_;
CREATE FUNCTION "s_$_".activity() RETURNS text LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO public.effects VALUES (durable.instance_id(), durable.task_id());
	RETURN current_setting('work_mem');
END \$\$;
CREATE FUNCTION "s_$_".orchestrator() RETURNS jsonb LANGUAGE plpgsql AS \$\$
BEGIN
	PERFORM durable.call_activity('"s_$_".activity');
	PERFORM durable.wait_for_external_event('go');
	RETURN to_jsonb(durable.when_all(durable.schedule_activity('"s_$_".activity'), durable.schedule_activity('"s_$_".activity')));
END \$\$;
-- such rights are what some of the roles lose
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA "s_$_" FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA "s_$_" TO $_;
GRANT INSERT ON effects TO $_;
SELECT durable.grant_usage('$_');
SET ROLE $_;
SELECT durable.start_new('"s_$_".orchestrator', instance_id => '$_-1');
-- one that nothing happens to before its start
SELECT durable.start_new('"s_$_".orchestrator', instance_id => '$_-2', start_at => now() + '1 hour');
RESET ROLE;
] } @roles);
poll_until($node, 'SELECT count(*) FROM effects', 'all run', scalar @roles);
poll_until($node, q[SELECT count(DISTINCT role) FROM durable.workers WHERE state = 'idle' AND role IN ('nologin'::regrole, 'noconnect'::regrole, 'nogroup'::regrole, 'adjusted'::regrole, 'demoted'::regrole)],
	'and there are workers that wait, connected', 5) or diag($node->safe_psql('postgres', 'SELECT * FROM durable.workers'));

# A superuser whose worker could still do what it was allowed when it connected.
$node->safe_psql('postgres', q[
CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		SET SESSION AUTHORIZATION postgres;
	EXCEPTION WHEN insufficient_privilege THEN NULL;
	END;
	RETURN concat_ws(' ', current_user, session_user, current_setting('is_superuser'));
END $$;
CREATE FUNCTION ask_who() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('public.who'); END $$;
]);

#
# All at once.
#
my %sessions;
for my $role ('roomy')
{
	$sessions{$role} = IPC::Run::start([ 'psql', '-XAtq', '-c', 'SELECT pg_sleep(3600)', $node->connstr('postgres') . " user=$role" ],
		'<', \undef, '>', \my $out, '2>', \my $err);
	poll_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = '$role' AND backend_type = 'client backend'", "$role has a session");
}
$node->safe_psql('postgres', q[
SELECT pg_terminate_backend(pid, 60000) FROM durable.workers WHERE role = 'roomy'::regrole;
ALTER ROLE nologin NOLOGIN;
REVOKE CONNECT ON DATABASE postgres FROM noconnect;
REVOKE connectors FROM nogroup;
ALTER ROLE roomy CONNECTION LIMIT 0;
ALTER ROLE expired PASSWORD 'x' VALID UNTIL '2000-01-01';
SELECT durable.revoke_usage('revoked');
REVOKE EXECUTE ON FUNCTION s_noorchestrator.orchestrator() FROM noorchestrator;
REVOKE EXECUTE ON FUNCTION s_noactivity.activity() FROM noactivity;
REVOKE USAGE ON SCHEMA s_noschema FROM noschema;
ALTER ROLE renamed RENAME TO "re named";
DROP OWNED BY dropped;
DROP ROLE dropped;
ALTER ROLE adjusted SET work_mem = '1234kB';
ALTER ROLE demoted NOSUPERUSER;
]);
$node->safe_psql('postgres', q[DROP OWNED BY leaving]);
$node->safe_psql('postgres', q[SELECT durable.raise_event(instance_id, 'go') FROM durable.instances WHERE instance_id LIKE '%-1' AND completed_time IS NULL]);

my %status = (fine => 'Completed', expired => 'Completed', renamed => 'Completed', adjusted => 'Completed', demoted => 'Completed',
	map { $_ => 'Running' } qw(nologin noconnect nogroup roomy leaving));
$status{$_} = 'Failed' for qw(revoked noorchestrator noactivity noschema dropped);
# leaving has lost, with DROP OWNED, CONNECT first of all
is(join(' ', sort keys %status), join(' ', sort @roles), 'what is expected of each');
my %failure = (
	revoked => '42501: permission denied for schema durable',
	noorchestrator => '42501: permission denied for function orchestrator',
	noactivity => '42501: permission denied for function activity',
	noschema => '42501: permission denied for schema s_noschema',
	dropped => '42704: the role with OID <oid> that owned the instance was dropped');
my %obstacle = (
	nologin => 'role "nologin" is not permitted to log in',
	noconnect => 'role "noconnect" lacks the CONNECT privilege',
	nogroup => 'role "nogroup" lacks the CONNECT privilege',
	leaving => 'role "leaving" lacks the CONNECT privilege',
	roomy => 'role "roomy" has more sessions than its connection limit of 0');

for my $role (@roles)
{
	poll_until($node, "SELECT runtime_status FROM durable.get_status('$role-1')", "$role: $status{$role}", $status{$role}) if $status{$role} ne 'Running';
	is($node->safe_psql('postgres', qq[SELECT regexp_replace(failure->>'sqlstate' || ': ' || (failure->>'message'), 'OID \\d+', 'OID <oid>') FROM durable.get_status('$role-1')]),
		$failure{$role} // '', "$role: the failure has the reason");
}
for my $role (sort keys %obstacle)
{
	poll_until($node, qq[SELECT pg_read_file('] . server_log($node) . qq[') ~ \$\$durable cannot run instances in database "postgres": \Q$obstacle{$role}\E\$\$], "$role: the log has the reason");
	# the owner's own query, where that may connect; the superuser can always ask
	is($node->safe_psql('postgres', "SET ROLE $role; SELECT durable.role_obstacle()"), $obstacle{$role}, "$role: so has durable.role_obstacle")
	  if $role ne 'leaving';
	is($node->safe_psql('postgres', "SELECT count(*) FROM durable.explain('$role-1') line WHERE line = \$\$No worker can run for $role: $obstacle{$role}\$\$"), 1,
		"$role: and durable.explain");
	is($node->safe_psql('postgres', "SELECT runtime_status FROM durable.get_status('$role-1')"), 'Running', "$role: it waits");
	is($node->safe_psql('postgres', "SELECT count(*) FROM durable.workers WHERE role = '$role'::regrole"), 0, "$role: nothing runs as it");
}
is($node->safe_psql('postgres', q[SELECT owner, output FROM durable.get_status('renamed-1')]), '"re named"|["4MB", "4MB"]', 'a renamed owner has its new name');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable_internal.violations]), 0, 'no invariant is broken');

# Settings of a role reach its worker with a reload; the worker of a former superuser is another one.
$node->reload;
$node->safe_psql('postgres', q[
SELECT durable.raise_event('adjusted-2', 'go');
SET ROLE demoted;
SELECT durable.start_new('public.ask_who', instance_id => 'demoted-3');
]);
poll_until($node, q[SELECT output FROM durable.get_status('demoted-3')], 'a former superuser cannot become one again', '"demoted demoted off"');
is($node->safe_psql('postgres', q[SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'durable scheduler']), 1, 'the engine runs');

#
# The obstacles go.
#
$node->safe_psql('postgres', q[
ALTER ROLE nologin LOGIN;
GRANT CONNECT ON DATABASE postgres TO noconnect, leaving;
GRANT connectors TO nogroup;
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'roomy' AND backend_type = 'client backend';
SELECT durable.grant_usage('revoked');
GRANT EXECUTE ON FUNCTION s_noorchestrator.orchestrator() TO noorchestrator;
GRANT EXECUTE ON FUNCTION s_noactivity.activity() TO noactivity;
GRANT USAGE ON SCHEMA s_noschema TO noschema;
]);
$_->finish for values %sessions;
$node->safe_psql('postgres', "SET ROLE $_; SELECT durable.rewind('$_-1')") for qw(revoked noorchestrator noactivity noschema);
# leaving may connect again and no more
poll_until($node, q[SELECT failure->>'sqlstate' FROM durable.get_status('leaving-1')], 'leaving: now it lacks all other rights', '42501');
$node->safe_psql('postgres', q[
SELECT durable.grant_usage('leaving');
GRANT USAGE ON SCHEMA s_leaving TO leaving;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA s_leaving TO leaving;
GRANT INSERT ON effects TO leaving;
SELECT durable.rewind('leaving-1')]);
for my $role (grep { $_ ne 'dropped' } @roles)
{
	poll_until($node, "SELECT runtime_status FROM durable.get_status('$role-1')", "$role: it has gone on", 'Completed');
	is($node->safe_psql('postgres', "SELECT count(*) FROM effects WHERE instance_id = '$role-1'"), 3, "$role: each effect once");
}
is($node->safe_psql('postgres', q[SELECT DISTINCT state FROM durable.workers w WHERE NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = w.pid)]), '', 'all workers are processes');

# The settings of a role as the worker has them after the reload.
$node->safe_psql('postgres', q[
CREATE FUNCTION s_adjusted.ask() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_sql('SHOW work_mem'); END $$;
SET ROLE adjusted;
SELECT durable.start_new('s_adjusted.ask', instance_id => 'adjusted-3')]);
poll_until($node, q[SELECT output #>> '{rows,0,work_mem}' FROM durable.get_status('adjusted-3')], 'adjusted: has its new setting', '1234kB');

# What had not begun of a dropped role has failed too.
is($node->safe_psql('postgres', q[SELECT runtime_status, failure ->> 'sqlstate' FROM durable.get_status('dropped-2')]), 'Failed|42704', 'dropped: what had not begun has failed');
is($node->safe_psql('postgres', q[SELECT durable.purge_instance_history('dropped-1') + durable.purge_instance_history('dropped-2')]), 2, 'and all be purged');

#
# A database: its connection limit, and no connections at all.
#
$node->safe_psql('postgres', 'CREATE DATABASE small');
$node->safe_psql('small', q[
CREATE EXTENSION durable;
SELECT durable.grant_usage('fine');
CREATE FUNCTION orchestrator() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.wait_for_external_event('go'); END $$;
SET ROLE fine;
SELECT durable.start_new('orchestrator', instance_id => 'limited'), durable.start_new('orchestrator', instance_id => 'closed')]);
poll_until($node, q[SELECT bool_and(runtime_status = 'Running') FROM durable.instances], 'a database of its own', 't', 'small');
# the session that uses the limit up is there before there is work
my $session = IPC::Run::start([ 'psql', '-XAtq', '-c', 'SELECT pg_sleep(3600)', $node->connstr('small') ], '<', \undef, '>', \my $out, '2>', \my $err);
poll_until($node, q[SELECT count(*) FROM pg_stat_activity WHERE datname = 'small' AND query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()], 'a session', 1);
$node->safe_psql('small', q[
ALTER DATABASE small CONNECTION LIMIT 0;
SELECT pg_terminate_backend(pid, 60000) FROM durable.workers WHERE pid IS NOT NULL;
SELECT durable.raise_event('limited', 'go', '1')]);
poll_until($node, q[SELECT count(*) > 0 FROM durable.explain('limited') line
	WHERE line = 'No worker can run for fine: the database has more sessions than its connection limit of 0'], 'connection limit: explained', 't', 'small');
$node->safe_psql('small', 'ALTER DATABASE small CONNECTION LIMIT -1');
poll_until($node, q[SELECT runtime_status FROM durable.get_status('limited')], 'limit lifted: it goes on', 'Completed', 'small');
$node->safe_psql('postgres', q[
ALTER DATABASE small ALLOW_CONNECTIONS false;
SELECT pg_reload_conf()]);
poll_until($node, q[SELECT count(*) FROM pg_stat_activity WHERE datname = 'small' AND backend_type LIKE 'durable%'], 'where connections are not allowed the engine leaves', 0);
$node->safe_psql('postgres', q[
ALTER DATABASE small ALLOW_CONNECTIONS true;
SELECT pg_reload_conf()]);
$node->safe_psql('small', q[SELECT durable.raise_event('closed', 'go', '1')]);
poll_until($node, q[SELECT runtime_status FROM durable.get_status('closed')], 'and comes back', 'Completed', 'small');
$node->safe_psql('postgres', q[SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'small' AND backend_type = 'client backend']);
$session->finish;

is($node->safe_psql('postgres', q[SELECT count(*) FROM durable_internal.violations]), 0, 'no invariant is broken');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|was terminated by signal|XX000/, 'nothing has crashed');
done_testing();
