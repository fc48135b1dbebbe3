# ALTER EXTENSION durable UPDATE while instances run: the engine waits for it and goes on, each effect once.  Tables of
# another version than the library stop the engine, with a reason, and start it again when they fit.
# The versions are made here: copies of the extension's files and scripts from one to the next.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my ($share) = run_command([ $ENV{PG_CONFIG}, '--sharedir' ]);
my $paths = slurp_file("$ENV{DURABLE_TMP}/paths.conf");
my $own = PostgreSQL::Test::Utils::tempdir();

plan skip_all => 'the server loads extensions from its own directory only' unless $paths =~ s{\Q$ENV{DURABLE_TMP}\E/stage}{$own}g;

my $dir = "$own$share/extension";
system_or_bail('cp', '-r', "$ENV{DURABLE_TMP}/stage/.", $own);
my ($version) = slurp_file("$dir/durable.control") =~ /^default_version = '(.*)'/m;
my $echo = qq(\\echo Use "ALTER EXTENSION durable UPDATE" to load this file. \\quit\n);

# Everything that an update may do and this library can live with: new objects, others in place of old ones, tables written anew.
append_to_file("$dir/durable--$version--next1.sql", $echo . q[
ALTER TABLE durable_internal.timers SET (fillfactor = 90);
CREATE INDEX messages_time ON durable_internal.messages (time);
ALTER TABLE durable_internal.messages ALTER COLUMN task_id TYPE integer USING task_id + 0;
ALTER TABLE durable_internal.instances SET (fillfactor = 60);
UPDATE durable_internal.instances SET custom_status = '1' WHERE custom_status IS NULL;
DROP FUNCTION durable.task_id();
CREATE FUNCTION durable.task_id() RETURNS integer LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'durable_task_id';
COMMENT ON FUNCTION durable.task_id() IS 'another';
CREATE FUNCTION durable.news() RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT 'news' $$;
REVOKE ALL ON ALL ROUTINES IN SCHEMA durable, durable_internal FROM PUBLIC;
]);
# One that fails in the middle, and one that brings a layout which this library does not know.
append_to_file("$dir/durable--next1--broken.sql", $echo . "ALTER TABLE durable_internal.timers RENAME TO clocks;\nSELECT pg_catalog.pg_read_file('no such file');\n");
append_to_file("$dir/durable--next1--next2.sql", $echo . "ALTER TABLE durable_internal.instances ADD COLUMN extra text;\n");

my $node = durable_node('upgrade', conf => "$paths\nlog_min_messages = log\ndurable.max_workers = 4\ndeadlock_timeout = 100ms");
my $log = server_log($node);
$node->safe_psql('postgres', q[
CREATE ROLE one LOGIN;
SELECT durable.grant_usage('one');
CREATE TABLE effects (instance_id text, task_id int, PRIMARY KEY (instance_id, task_id));
GRANT ALL ON effects TO one;
CREATE FUNCTION effect(seconds float8 DEFAULT 0) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects SELECT durable.instance_id(), durable.task_id() FROM pg_sleep(seconds);
END $$;
CREATE FUNCTION child() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('effect'); RETURN 1; END $$;
CREATE FUNCTION mixed() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_activity('effect');
	PERFORM durable.when_all(durable.schedule_activity('effect', '0.01'), durable.schedule_activity('effect'), durable.create_timer('10 ms'::interval));
	PERFORM durable.call_sub_orchestrator('child');
	PERFORM durable.sleep('50 ms');
	PERFORM durable.wait_for_external_event('e', '20 ms', '1');
	PERFORM durable.call_activity('effect');
	RETURN 4;
END $$;
-- A client that starts instances all the time.
CREATE PROCEDURE submit(prefix text) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 300 LOOP
		PERFORM durable.start_new('mixed', instance_id => prefix || i);
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;
GRANT EXECUTE ON PROCEDURE submit TO one;
]);

# Statements as a role, in the background.
sub background
{
	my ($role, $sql) = @_;
	my $run = { err => '' };

	$run->{handle} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', $sql, $node->connstr('postgres') . " user=$role" ],
		'<', \undef, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

my @clients = (background('one', q[CALL submit('one-')]), background('postgres', q[CALL submit('two-')]));
poll_until($node, q[SELECT count(*) > 50 FROM effects], 'instances run');
my ($rc, $out, $err) = $node->psql('postgres', q[ALTER EXTENSION durable UPDATE TO 'next1']);
is($rc, 0, 'the update goes through under load') or diag $err;
is($node->safe_psql('postgres', q[SELECT extversion FROM pg_extension WHERE extname = 'durable']), 'next1', 'and is there');
($rc, $out, $err) = $node->psql('postgres', q[ALTER EXTENSION durable UPDATE TO 'broken']);
like($err, qr/no such file/, 'one that fails');
is($node->safe_psql('postgres', q[SELECT extversion FROM pg_extension WHERE extname = 'durable']), 'next1', 'is undone as a whole');
# somebody who may not update it holds up nobody
($rc, $out, $err) = $node->psql('postgres', q[BEGIN; ALTER EXTENSION durable UPDATE TO 'next2'; SELECT pg_sleep(600);], extra_params => [ '-U', 'one' ]);
like($err, qr/must be owner of extension durable/, 'others may not');
for my $client (@clients)
{
	$client->{handle}->finish;
	is($client->{err}, '', 'the client has noticed nothing');
}
poll_until($node, q[SELECT count(*) = 1200 AND bool_and(runtime_status = 'Completed') FROM durable.instances], 'everything completes');
is($node->safe_psql('postgres', q[SELECT count(*), (SELECT count(*) FROM effects) FROM durable.instances]), '1200|3000', 'each effect once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
is($node->safe_psql('postgres', 'SELECT durable.news()'), 'news', 'what is new can be used');
is($node->safe_psql('postgres', 'SELECT durable.news()', extra_params => [ '-U', 'one' ]), 'news', 'by those who could use the rest');
is($node->safe_psql('postgres', q[SELECT has_function_privilege('public', 'durable.news()', 'EXECUTE')]), 'f', 'and by nobody else');
# what is granted is dumped, which the rights that a script gives are not
my ($dump) = run_command([ 'pg_dump', '-s', '-d', $node->connstr('postgres') ]);
like($dump, qr/^GRANT ALL ON FUNCTION durable\.(?:task_id|news)\(\) TO one;/m, 'a dump has it');

# A layout that the library does not know, first undone, then in earnest, with instances in flight.
$node->safe_psql('postgres', q[SELECT durable.start_new('mixed', instance_id => 'late-' || i) FROM generate_series(1, 100) i;
	BEGIN; ALTER EXTENSION durable UPDATE TO 'next2'; ROLLBACK]);
poll_until($node, q[SELECT bool_and(runtime_status = 'Completed') FROM durable.instances WHERE instance_id LIKE 'late-%'], 'a rolled back update does no harm');
$node->safe_psql('postgres', q[SELECT durable.start_new('mixed', instance_id => 'waits-' || i) FROM generate_series(1, 200) i]);
$node->safe_psql('postgres', q[ALTER EXTENSION durable UPDATE TO 'next2']);
ok($node->poll_query_until('postgres', qq[SELECT pg_read_file('$log') ~ 'durable cannot work in database "postgres": table "durable_internal.instances" is not as it should be']),
	'tables that the library does not know: the log says so');
poll_until($node, q[SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('durable scheduler', 'durable worker')], 'and nothing runs');
($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT durable.start_new('mixed')");
like($err, qr/55000: durable cannot work in database "postgres": table "durable_internal.instances" is not as it should be.*DETAIL:  Column 25, "extra", is not one that durable knows\..*HINT:.*ALTER EXTENSION durable UPDATE/s, 'clients are told');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.instances WHERE runtime_status = 'Failed']), 0, 'no instance has failed of it');
is($node->safe_psql('postgres', q[SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'durable launcher']), 1, 'the launcher runs');
my $complaints = () = slurp_file($log) =~ /is not as it should be/g;
cmp_ok($complaints, '<', 50, 'the log is not flooded');

# In place of a library that knows them: an update takes the column away as if it had never been, and the engine is there again.
append_to_file("$dir/durable--next2--next3.sql", $echo . q[
SET LOCAL allow_system_table_mods = on;
DELETE FROM pg_catalog.pg_attribute WHERE attrelid = 'durable_internal.instances'::pg_catalog.regclass AND attname = 'extra';
UPDATE pg_catalog.pg_class SET relnatts = relnatts - 1 WHERE oid = 'durable_internal.instances'::pg_catalog.regclass;
]);
$node->safe_psql('postgres', q[ALTER EXTENSION durable UPDATE TO 'next3']);
poll_until($node, q[SELECT bool_and(runtime_status = 'Completed') FROM durable.instances], 'when they fit again everything goes on by itself');
is($node->safe_psql('postgres', q[SELECT count(*) FROM effects]), 3000 + 5 * 300, 'each effect once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');

$node->stop;
unlike(slurp_file($log), qr/PANIC:|TRAP:|was terminated by signal|XX000|deadlock detected/, 'nothing has crashed, no deadlock');
done_testing();
