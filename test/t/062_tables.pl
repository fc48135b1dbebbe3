# Tables of the engine that somebody has changed: the engine stops and clients get an error, both say what is wrong, nothing
# is lost or done twice, and all goes on by itself when it is put right.  What is published reaches a subscriber whole.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('tables', init => [ allows_streaming => 'logical' ], conf => "durable.poll_interval = 500ms");
my $log = server_log($node);
$node->safe_psql('postgres', q[
	CREATE TABLE effects (instance_id text, task_id int, n int);
	CREATE FUNCTION effect(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO effects VALUES (durable.instance_id(), durable.task_id(), n) RETURNING n';
	CREATE FUNCTION beat(n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM durable.call_activity('effect', to_jsonb(n));
		PERFORM durable.sleep('20 ms');
		PERFORM durable.continue_as_new(to_jsonb(n + 1));
		RETURN 0;
	END $$;
	CREATE FUNCTION hello() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM durable.when_all(durable.schedule_activity('effect', '-1'), durable.schedule_activity('effect', '-2'));
		RETURN 1;
	END $$;
	SELECT durable.start_new('beat', '1', instance_id => 'beat-' || i) FROM generate_series(1, 10) i;
]);
poll_until($node, 'SELECT max(n) > 3 FROM effects', 'the engine runs');

# The beats go on.
sub goes_on
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $now = $node->safe_psql('postgres', 'SELECT max(n) FROM effects');
	return poll_until($node, "SELECT max(n) > $now + 3 FROM effects", $what);
}

# A call that needs the table; those of activities only the engine writes.
my %calls = (
	instances => q[durable.start_new('hello')],
	messages => q[durable.raise_event('beat-1', 'nothing')],
	timers => q[durable.start_new('hello', start_at => '2999-01-01')],
	tasks => undef);

# Breaks the tables, sees that the engine stops and says why, mends them and sees that it goes on.
sub breaks
{
	my ($break, $mend, $detail, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $offset = -s $log;

	$node->safe_psql('postgres', "BEGIN; $break; COMMIT");
	my ($table) = $break =~ /(?:TABLE|INDEX|ON(?: INSERT TO)?|REFERENCES) durable_internal\.([a-z]+)/;
	my $call = exists $calls{$table} ? $calls{$table} : $calls{instances};
	my (undef, undef, $err) = defined $call ? $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT $call") : ();
	like($err, qr/ERROR:  55000: durable cannot work in database "postgres": table "durable_internal\.\w+" is not as it should be\nDETAIL:  $detail.*HINT:/s, "$what: clients are told") if defined $call;
	poll_until($node, q[SELECT state = 'unfit' AND reason ~ 'log' FROM durable.databases WHERE database = 'postgres'], "$what: the engine waits");
	poll_until($node, q[SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('durable worker')], "$what: no worker runs");
	like(slurp_file($log, $offset), qr/LOG:  durable cannot work in database "postgres".*\n.*DETAIL:  $detail/, "$what: the log says so");
	$node->safe_psql('postgres', $mend);
	goes_on("$what: it goes on by itself");
	my $id = $node->safe_psql('postgres', q[SELECT durable.start_new('hello')]);
	is($node->safe_psql('postgres', "SELECT output FROM durable.wait_for_completion('$id', '1 min')"), '1', "$what: clients as well");
	my $complaints = () = slurp_file($log, $offset) =~ /LOG:  durable cannot work/g;
	cmp_ok($complaints, '<', 12, "$what: the log is not flooded");
	return;
}

breaks('ALTER TABLE durable_internal.instances ADD COLUMN extra text', 'ALTER TABLE durable_internal.instances DROP COLUMN extra',
	'Column 25, "extra", is not one that durable knows\.', 'a column more');
breaks('ALTER TABLE durable_internal.timers RENAME COLUMN fire_at TO fires', 'ALTER TABLE durable_internal.timers RENAME COLUMN fires TO fire_at',
	'Column 3 is called "fires", not "fire_at"\.', 'a renamed column');
breaks('ALTER TABLE durable_internal.messages ALTER COLUMN attempt TYPE bigint', 'ALTER TABLE durable_internal.messages ALTER COLUMN attempt TYPE integer',
	'Column "attempt" is of type bigint, not integer\.', 'another type');
# as pg_partman's recipes make it
breaks(q[
	ALTER TABLE durable_internal.history RENAME TO history_old;
	CREATE TABLE durable_internal.history (LIKE durable_internal.history_old INCLUDING ALL) PARTITION BY RANGE (key);
	CREATE TABLE durable_internal.history_p0 PARTITION OF durable_internal.history FOR VALUES FROM (MINVALUE) TO (MAXVALUE)],
	q[BEGIN; DROP TABLE durable_internal.history; ALTER TABLE durable_internal.history_old RENAME TO history; COMMIT],
	'It is a partitioned table\.', 'a partitioned table');
breaks(q[CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler; ALTER TABLE durable_internal.messages SET ACCESS METHOD other],
	'ALTER TABLE durable_internal.messages SET ACCESS METHOD heap', 'Its access method is "other", not heap\.', 'another access method');
breaks('DROP INDEX durable_internal.timers_fire_at', 'CREATE INDEX timers_fire_at ON durable_internal.timers (fire_at, key)',
	'Its index "timers_fire_at" is missing\.', 'no index');
breaks('DROP INDEX durable_internal.instances_parent; CREATE INDEX instances_parent ON durable_internal.instances (parent_task)',
	'DROP INDEX durable_internal.instances_parent; CREATE INDEX instances_parent ON durable_internal.instances (parent_key) WHERE parent_key IS NOT NULL',
	'Its index "instances_parent" is not the one that the extension has made\.', 'another index');
# as pg_repack makes it; what has fired it would come twice or not at all
$node->safe_psql('postgres', q[CREATE TABLE changes (n int); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO changes VALUES (1); RETURN NULL; END $$]);
breaks(q[
	CREATE TRIGGER repack_trigger AFTER INSERT OR DELETE OR UPDATE ON durable_internal.instances FOR EACH ROW EXECUTE FUNCTION note();
	ALTER TABLE durable_internal.instances ENABLE ALWAYS TRIGGER repack_trigger],
	'DROP TRIGGER repack_trigger ON durable_internal.instances', 'It has trigger "repack_trigger", which durable does not fire\.', 'a trigger');
is($node->safe_psql('postgres', 'SELECT count(*) FROM changes'), '0', 'nothing was written past the trigger, nor by it');
breaks('CREATE TRIGGER noted AFTER INSERT ON durable_internal.history REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note()',
	'ALTER TABLE durable_internal.history DISABLE TRIGGER noted', 'It has trigger "noted", which durable does not fire\.', 'a trigger for statements');
breaks('CREATE TABLE orders (instance bigint REFERENCES durable_internal.instances ON DELETE CASCADE)', 'DROP TABLE orders',
	'Constraint "orders_instance_fkey" has triggers on it, which durable does not fire\.', 'a foreign key');
breaks('CREATE RULE noted AS ON INSERT TO durable_internal.messages DO ALSO INSERT INTO changes VALUES (1)', 'DROP RULE noted ON durable_internal.messages',
	'It has a rule, which durable does not apply\.', 'a rule');

# What does no harm: more indexes, a trigger that never fires for it, tables written anew.
$node->safe_psql('postgres', q[
	CREATE INDEX more ON durable_internal.history (event_time);
	CREATE TRIGGER emptied BEFORE TRUNCATE ON durable_internal.history EXECUTE FUNCTION note();
	ALTER TABLE durable_internal.timers SET (fillfactor = 80)]);
$node->safe_psql('postgres', $_) for 'REINDEX TABLE CONCURRENTLY durable_internal.instances', 'VACUUM FULL durable_internal.instances', 'VACUUM FULL durable_internal.history';
goes_on('indexes more, VACUUM FULL and REINDEX CONCURRENTLY do no harm');
# REINDEX CONCURRENTLY waits for transactions that use a table, such as those of activities, and meanwhile nobody waits behind it.
my $holder = $node->background_psql('postgres');
$holder->query_safe(q[BEGIN; SELECT durable.start_new('hello', instance_id => 'held')]);
my $reindex_err = '';
my $reindex = IPC::Run::start([ 'psql', '-XAtq', '-c', 'REINDEX SCHEMA CONCURRENTLY durable_internal', $node->connstr('postgres') ], '<', \undef, '>', \my $reindex_out, '2>', \$reindex_err);
poll_until($node, q[SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'REINDEX SCHEMA%' AND wait_event_type = 'Lock'], 'REINDEX CONCURRENTLY waits');
goes_on('the engine does not');
$node->safe_psql('postgres', q[SELECT durable.start_new('hello', instance_id => 'beside')]);
is($node->safe_psql('postgres', q[SELECT output FROM durable.wait_for_completion('beside', '1 min')]), '1', 'nor do clients');
$holder->query_safe('COMMIT');
$holder->quit;
$reindex->finish;
is($reindex_err, '', 'and then it is done');
goes_on('and the engine goes on');
# Lists are only read.
$node->safe_psql('postgres', 'ALTER TABLE durable_internal.history ENABLE TRIGGER noted');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.query_instances(instance_id_prefix => 'beat-')]), '10', 'who only reads is not refused for a trigger');
$node->safe_psql('postgres', 'DROP TRIGGER noted ON durable_internal.history');
goes_on('and on');

# Publications: all tables, with a subscriber whose engine is off.
my $standby = durable_node('subscriber', conf => "durable.databases = 'none'\nwal_level = logical");
$node->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
$standby->safe_psql('postgres', 'CREATE TABLE effects (instance_id text, task_id int, n int); CREATE TABLE changes (n int)');
$standby->safe_psql('postgres', "CREATE SUBSCRIPTION everything CONNECTION \$\$" . $node->connstr('postgres') . "\$\$ PUBLICATION everything");
goes_on('the engine runs while its tables are published');
$node->safe_psql('postgres', 'SELECT durable.renew_notify_channels()');
$node->safe_psql('postgres', q[SELECT durable.set_quota('postgres', live_instances => 1000); SELECT durable.set_quota('postgres', live_instances => 2000); SELECT durable.unset_quota('postgres')]);
$node->safe_psql('postgres', q[SELECT durable.start_new('hello', instance_id => 'published-' || i) FROM generate_series(1, 50) i]);
poll_until($node, q[SELECT count(*) = 50 FROM durable.instances WHERE instance_id LIKE 'published-%' AND runtime_status = 'Completed'], 'instances complete');
$node->safe_psql('postgres', q[SELECT count(durable.terminate(instance_id)) FROM durable.instances WHERE name = 'beat']);
poll_until($node, q[SELECT bool_and(runtime_status IN ('Completed', 'Terminated')) FROM durable.instances], 'all end');
$node->safe_psql('postgres', q[SELECT durable.purge_instance_history('published-1')]);
$standby->wait_for_subscription_sync($node, 'everything') if $standby->can('wait_for_subscription_sync');
$node->wait_for_catchup('everything');
foreach my $table ('instances', 'history', 'messages', 'tasks', 'timers', 'quotas')
{
	my $content = "SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM durable_internal.$table t";
	poll_until($standby, "SELECT row(c.*)::text FROM ($content) c", "table $table is the same on the subscriber",
		$node->safe_psql('postgres', "SELECT row(c.*)::text FROM ($content) c"));
}
is($standby->safe_psql('postgres', q[SELECT array_agg(secret) @> ARRAY(SELECT secret FROM durable_internal.notify_secret) FROM durable_internal.notify_secret]), 't', 'the secret has come');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken there');
$standby->safe_psql('postgres', 'DROP SUBSCRIPTION everything');
$standby->stop;
$node->safe_psql('postgres', q[SELECT durable.start_new('beat', '1000000', instance_id => 'again')]);
goes_on('the engine runs');
breaks('ALTER TABLE durable_internal.timers REPLICA IDENTITY NOTHING', 'ALTER TABLE durable_internal.timers REPLICA IDENTITY DEFAULT',
	'It is published and has no replica identity\.', 'no replica identity');

is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT 1 FROM effects WHERE n > 0 GROUP BY instance_id, n HAVING count(*) > 1) twice'), 0, 'nothing was done twice');
is( $node->safe_psql('postgres', q[SELECT count(*) FROM (SELECT instance_id FROM effects WHERE n > 0 GROUP BY instance_id HAVING count(*) <> max(n) - min(n) + 1) gaps]),
	0, 'nor left out');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.instances WHERE runtime_status = 'Failed']), 0, 'no instance has failed of it');
is($node->safe_psql('postgres', 'SELECT count(*) FROM durable_internal.violations'), 0, 'no invariant is broken');
$node->stop;
unlike(slurp_file($log), qr/PANIC:|TRAP:|was terminated by signal|XX000/, 'nothing has crashed');
done_testing();
