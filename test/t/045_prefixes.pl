# Pages by id prefix in a large table: the same rows as the view has, in every order in which ids and times may come, and
# without reading what was created before the first of them.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('prefixes', conf => 'autovacuum = off');
$node->safe_psql('postgres', q[
CREATE ROLE other;
SELECT durable.grant_usage('other');
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
-- Copies of an instance that has ended, created one each second; every 50th has failed, every third is another role's.
CREATE PROCEDURE fill(first int, last int, id text, second text DEFAULT 'i') LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($q$INSERT INTO durable_internal.instances
		SELECT -i, %s, execution_id, CASE WHEN i %% 50 = 0 THEN 'F' ELSE state END, CASE WHEN i %% 3 = 0 THEN 'other'::durable_internal.owner ELSE owner END,
			CASE WHEN i %% 2 = 0 THEN name ELSE 'another' END, function, version, search_path, tags,
			'2020-01-01'::timestamptz + make_interval(secs => %s), last_updated_time, completed_time, scheduled_start_time, started_time,
			parent_key, parent_task, first_seq, last_seq, turn_seq, first_task, awaiting, deliveries, custom_status
		FROM durable_internal.instances p, generate_series($1, $2) i WHERE instance_id = 'pattern'$q$, id, second) USING first, last;
END $$;
-- Where pages of a filter and the view differ: the first, the second, and one from the middle.
CREATE FUNCTION differences(prefix text, size int, filter text DEFAULT '', condition text DEFAULT 'true') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	expected text[];
	found text[] := '{}';
	page text[];
	token text;
BEGIN
	EXECUTE format('SELECT array_agg(instance_id) FROM (SELECT instance_id FROM durable.instances WHERE instance_id ^@ $1 AND %s
		ORDER BY created_time, instance_id LIMIT 2 * $2) i', condition) INTO expected USING prefix, size;
	FOR n IN 1..2 LOOP
		EXECUTE format('SELECT array_agg(instance_id), max(continuation_token)
			FROM durable.query_instances(instance_id_prefix => $1, page_size => $2, continuation_token => $3 %s)', filter)
			INTO page, token USING prefix, size, token;
		found := found || page;
		EXIT WHEN token IS NULL;
	END LOOP;
	RETURN (SELECT count(*) FROM unnest(expected) WITH ORDINALITY e FULL JOIN unnest(found) WITH ORDINALITY f ON e = f WHERE e IS NULL OR f IS NULL);
END $$;
]);
$node->safe_psql('postgres', q[SELECT durable.start_new('nothing', instance_id => 'pattern')]);
poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('pattern')], 'an instance has ended');

# Default ids and orders, then invoices, families of tenants, one of which came late, and numbers with zeros before them.
$node->safe_psql('postgres', q[
CALL fill(1, 50000, $$CASE WHEN i % 2 = 0 THEN '019' || md5(i::text) ELSE 'order-' || md5(i::text) END$$);
CALL fill(50001, 65000, $$'invoice-' || md5(i::text)$$);
CALL fill(65001, 90000, $$format('tenant-%s-%s', CASE WHEN i > 75000 AND i % 2 = 0 THEN 42 WHEN i % 100 = 42 THEN 43 ELSE i % 100 END, i)$$);
CALL fill(90001, 110000, $$'n-' || lpad(i::text, 9, '0')$$);
-- all at one time
CALL fill(110001, 130000, $$'once-' || lpad(i::text, 9, '0')$$, '110000');
VACUUM ANALYZE durable_internal.instances;
]);

# Entries of indexes, and rows of blocks, that a query reads.
sub entries
{
	my ($query) = @_;
	my $sum = q[SELECT sum(pg_stat_get_xact_tuples_returned(c)) FROM unnest('{instances_listing,instances_instance_id,instances}'::text[]) n, to_regclass('durable_internal.' || n) c];
	my @out = split /\n/, $node->safe_psql('postgres', "BEGIN; $sum; SELECT count(*) FROM $query; $sum; COMMIT");
	is($out[1], '100', "$query is a page");
	return $out[2] - $out[0];
}
foreach my $prefix ('invoice-', 'tenant-42-', 'n-00010', 'n-000109', 'once-00012')
{
	cmp_ok(entries("durable.query_instances(instance_id_prefix => '$prefix')"), '<', 50000, 'without reading the ids before');
}

# Old blocks have room for some rows more, so a family that comes late is in all of them.
$node->safe_psql('postgres', q[DELETE FROM durable_internal.instances WHERE key BETWEEN -130000 AND -1 AND key % 19 = 0]);
$node->safe_psql('postgres', 'VACUUM durable_internal.instances');
$node->safe_psql('postgres', q[CALL fill(130001, 150000, $$'l-' || i$$)]);
$node->safe_psql('postgres', 'VACUUM ANALYZE durable_internal.instances');
cmp_ok($node->safe_psql('postgres', q[SELECT count(DISTINCT (ctid::text::point)[0]) FROM durable_internal.instances WHERE instance_id ^@ 'l-']), '>', 2000,
	'rows that came late are in old blocks');
cmp_ok(entries("durable.query_instances(instance_id_prefix => 'l-')"), '<', 50000, 'of which only the first are read');

$node->safe_psql('postgres', q[
-- out of order, without a summary
CALL fill(150001, 160000, $$'early-' || md5(i::text)$$, '160000 - i');
-- longer than what summaries keep of an id, at times of all ranges, with and without one
CALL fill(170001, 172000, $$repeat('long-', 1 + i % 30) || i$$, '(i * 7919) % 170000');
SELECT brin_summarize_new_values('durable_internal.instances_ranges');
CALL fill(172001, 174000, $$repeat('long-', 1 + i % 30) || i$$, '(i * 7919) % 170000');
CREATE TABLE prefixes AS SELECT prefix FROM unnest(ARRAY['', '019a', 'order-', 'order-a', 'invoice-', 'tenant-', 'tenant-4',
	'tenant-42-', 'tenant-99-', 'n-0001', 'n-00010', 'n-0001099', 'once-', 'once-00012', 'once-0001199', 'early-', 'pear-', 'order-new',
	'l-', 'l-14', 'long-', repeat('long-', 12), repeat('long-', 14) || '1', repeat('long-', 30) || '1730', 'z', E'o\\x01', 'once-000129999-and-more']) prefix;
CREATE TABLE filters AS VALUES
	('', 'true'),
	(', runtime_status => ''{Failed}''', 'runtime_status = ''Failed'''),
	(', name => ''another''', 'name = ''another'''),
	(', created_time_from => ''2020-01-02'', created_time_to => ''2020-01-03 01:02:03''', 'created_time BETWEEN ''2020-01-02'' AND ''2020-01-03 01:02:03''');
GRANT SELECT ON prefixes, filters TO other;
]);

# All differences, in a session or in one of its own.
sub compare
{
	my ($what, $session) = @_;
	my $sql = q[SELECT prefix, size, column1 FROM prefixes, filters, unnest('{1,100}'::int[]) size
		WHERE (size = 100 OR column1 = '') AND differences(prefix, size, column1, column2) <> 0];
	is($session ? $session->query_safe($sql) : $node->safe_psql('postgres', $sql), '', $what);
}
compare('pages are those of the view');
is($node->safe_psql('postgres', 'SET ROLE other; SELECT prefix FROM prefixes WHERE differences(prefix, 100) <> 0'), '', 'to a role that sees some');

# A snapshot from before rows were changed, purged and written again in their place, with and without new summaries.
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$session->query_safe('SELECT count(*) FROM durable.instances');
$node->safe_psql('postgres', q[
UPDATE durable_internal.instances SET state = 'T' WHERE key % 7 = 0;
UPDATE durable_internal.instances SET custom_status = '1' WHERE key % 5 = 0;
SELECT count(durable.purge_instance_history(instance_id)) FROM (SELECT instance_id FROM durable_internal.instances WHERE key < 0 AND key % 11 = 0 LIMIT 3000) i;
SELECT brin_desummarize_range('durable_internal.instances_ranges', 256);
SELECT brin_summarize_new_values('durable_internal.instances_ranges');
CALL fill(160001, 165000, $$CASE WHEN i % 2 = 0 THEN 'order-new-' ELSE 'invoice-0-' END || i$$);
]);
compare('which stays as it was', $session);
$session->query_safe('COMMIT');
$session->quit;
compare('and now');
$node->safe_psql('postgres', 'VACUUM durable_internal.instances');
$node->safe_psql('postgres', q[CALL fill(165001, 170000, $$CASE WHEN i % 2 = 0 THEN 'order-newer-' ELSE 'pear-' END || i$$, '-i')]);
compare('after vacuum, when old space is used again');

# A prefix that another role's ids have early and the caller's late, or those of a name: the caller's own are read in order.
$node->safe_psql('postgres', q[
CALL fill(200001, 300000, $$CASE WHEN i % 3 = 0 AND i < 270000 THEN 'job-' ELSE 'order-late-' END || md5(i::text)$$);
VACUUM ANALYZE durable_internal.instances;
CREATE FUNCTION read_by_other(prefix text) RETURNS TABLE (rows bigint, read numeric) LANGUAGE plpgsql AS $$
DECLARE
	before numeric := (SELECT sum(pg_stat_get_xact_tuples_returned(c)) FROM unnest('{instances_listing,instances_instance_id,instances}'::text[]) n, to_regclass('durable_internal.' || n) c);
BEGIN
	SET LOCAL ROLE other;
	SELECT count(*) INTO rows FROM durable.query_instances(instance_id_prefix => prefix);
	RESET ROLE;
	read := (SELECT sum(pg_stat_get_xact_tuples_returned(c)) FROM unnest('{instances_listing,instances_instance_id,instances}'::text[]) n, to_regclass('durable_internal.' || n) c) - before;
	RETURN NEXT;
END $$;
]);
my ($rows, $read) = split /\|/, $node->safe_psql('postgres', q[SELECT * FROM read_by_other('order-late-')]);
is($rows, 100, 'a page of what a role may see');
cmp_ok($read, '<', 700000, 'does not read much more than its own');

# The operator class does not trust its input.
my ($rc, $out, $err) = $node->psql('postgres', q[CREATE TABLE no_places (b bytea); CREATE INDEX ON no_places USING brin (b durable_internal.id_stems); INSERT INTO no_places VALUES ('\x01')]);
like($err, qr/not a place/, 'what is no place is refused');

$node->stop;
done_testing();
