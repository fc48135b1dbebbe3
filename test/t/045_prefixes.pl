# Pages by id prefix in a large table: the same rows as the view has, in the order of ids, and without reading other ids.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

$ENV{PGCLIENTENCODING} = 'UTF8';
my $node = durable_node('prefixes', init => [ extra => [ '-E', 'UTF8', '--locale=C.UTF-8' ] ], conf => 'autovacuum = off');
my $setup = q[
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
-- Copies of an instance that has ended, created in another order than that of their ids; every 50th has failed, every third is another role's.
CREATE PROCEDURE fill(first int, last int, id text, owner durable_internal.owner DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($q$INSERT INTO durable_internal.instances
		SELECT -i, %s, execution_id, CASE WHEN i %% 50 = 0 THEN 'F' ELSE state END, coalesce($3, CASE WHEN i %% 3 = 0 THEN 'other'::durable_internal.owner ELSE owner END),
			CASE WHEN i %% 2 = 0 THEN name ELSE 'another' END, function, version, search_path, tags,
			'2020-01-01'::timestamptz + make_interval(secs => i * 7919 %% 170000), last_updated_time, completed_time, scheduled_start_time, started_time,
			parent_key, parent_task, first_seq, last_seq, turn_seq, first_task, awaiting, deliveries, custom_status
		FROM durable_internal.instances p, generate_series($1, $2) i WHERE instance_id = 'pattern'$q$, id) USING first, last, owner;
END $$;
-- Where pages of a filter and the view differ: the first ones, at most some.
CREATE FUNCTION differences(prefix text, size int, filter text DEFAULT '', condition text DEFAULT 'true') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	expected text[];
	found text[] := '{}';
	page text[];
	token text;
BEGIN
	EXECUTE format('SELECT array_agg(instance_id) FROM (SELECT instance_id FROM durable.instances WHERE starts_with(instance_id, $1) AND %s
		ORDER BY instance_id COLLATE "C" LIMIT 3 * $2) i', condition) INTO expected USING prefix, size;
	FOR n IN 1..3 LOOP
		EXECUTE format('SELECT array_agg(instance_id), max(continuation_token)
			FROM durable.query_instances(instance_id_prefix => $1, page_size => $2, continuation_token => $3 %s)', filter)
			INTO page, token USING prefix, size, token;
		found := found || page;
		EXIT WHEN token IS NULL;
	END LOOP;
	RETURN (SELECT count(*) FROM unnest(expected) WITH ORDINALITY e FULL JOIN unnest(found) WITH ORDINALITY f ON e = f WHERE e IS NULL OR f IS NULL);
END $$;
SELECT durable.start_new('nothing', instance_id => 'pattern');
];
$node->safe_psql('postgres', q[CREATE ROLE other; SELECT durable.grant_usage('other');] . $setup);
poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('pattern')], 'an instance has ended');

$node->safe_psql('postgres', q[
CALL fill(1, 50000, $$CASE WHEN i % 2 = 0 THEN '019' || md5(i::text) ELSE 'order-' || md5(i::text) END$$);
CALL fill(50001, 60000, $$format('tenant-%s-%s', i % 100, i)$$);
CALL fill(60001, 63000, $$repeat('long-', 1 + i % 30) || i$$);
CALL fill(63001, 64000, $$CASE i % 4 WHEN 0 THEN 'Case-' WHEN 1 THEN 'case-' WHEN 2 THEN 'case_' ELSE 'CASE' END || i$$);
CALL fill(64001, 64100, $$E'\x7f' || chr(i - 63800)$$);
VACUUM ANALYZE durable_internal.instances;
]);

# Entries of indexes, and rows of the table, that a query reads.
sub entries
{
	my ($query, $rows) = @_;
	my $sum = q[SELECT sum(pg_stat_get_xact_tuples_returned(c)) FROM unnest('{instances_listing,instances_instance_id,instances}'::text[]) n, to_regclass('durable_internal.' || n) c];
	my @out = split /\n/, $node->safe_psql('postgres', "BEGIN; $sum; SELECT count(*) FROM $query; $sum; COMMIT");
	is($out[1], $rows, "$query is a page");
	return $out[2] - $out[0];
}
foreach my $prefix ('order-', '019', 'tenant-42-', 'long-long-long-', 'case')
{
	cmp_ok(entries("durable.query_instances(instance_id_prefix => '$prefix')", 100), '<', 300, 'without reading other ids');
}
cmp_ok(entries("durable.query_instances(instance_id_prefix => 'p0')", 0), '<', 10, 'nor is anything read where there is none');
my $token = $node->safe_psql('postgres', q[SELECT max(continuation_token) FROM durable.query_instances(instance_id_prefix => 'order-', page_size => 15000)]);
cmp_ok(entries("durable.query_instances(instance_id_prefix => 'order-', continuation_token => '$token')", 100), '<', 300, 'nor the pages before');

$node->safe_psql('postgres', q[
CREATE TABLE prefixes AS SELECT prefix FROM unnest(ARRAY['0', '019a', 'o', 'order-', 'order-a', 'tenant-', 'tenant-4', 'tenant-42-', 'order-new', 'long-',
	repeat('long-', 12), repeat('long-', 30) || '6', 'z', E'o\x01', 'case-', 'case_', 'Case-', 'C', E'\x7f', E'\x7fà', E'\x7fÿ', E'\u07ff', E'\U0010ffff', 'order-ffff-and-more']) prefix;
CREATE TABLE filters AS VALUES
	('', 'true'),
	(', runtime_status => ''{Failed}''', 'runtime_status = ''Failed'''),
	(', name => ''another''', 'name = ''another'''),
	(', created_time_from => ''2020-01-02'', created_time_to => ''2020-01-02 01:02:03''', 'created_time BETWEEN ''2020-01-02'' AND ''2020-01-02 01:02:03''');
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

# A snapshot from before rows were changed, purged and started.
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$session->query_safe('SELECT count(*) FROM durable.instances');
$node->safe_psql('postgres', q[
UPDATE durable_internal.instances SET state = 'T' WHERE key % 7 = 0;
UPDATE durable_internal.instances SET custom_status = '1' WHERE key % 5 = 0;
SELECT count(durable.purge_instance_history(instance_id)) FROM (SELECT instance_id FROM durable_internal.instances WHERE key < 0 AND key % 11 = 0 LIMIT 3000) i;
CALL fill(70001, 72000, $$CASE WHEN i % 2 = 0 THEN 'order-new-' ELSE 'tenant-42-' END || i$$);
]);
compare('which stays as it was', $session);
$session->query_safe('COMMIT');
$session->quit;
compare('and now');
$node->safe_psql('postgres', 'VACUUM durable_internal.instances');
compare('after vacuum');

# The ids of another role are passed over until a page is full; a timeout ends the look for one.
$node->safe_psql('postgres', q[CALL fill(100001, 200000, $$'job-' || lpad(i::text, 6, '0')$$, 'postgres')]);
$node->safe_psql('postgres', q[CALL fill(200001, 200004, $$format('job-1%s0000-other', (ARRAY[1, 2, 3, 9])[i - 200000])$$, 'other')]);
$token = undef;
foreach my $page ('job-110000-other job-120000-other|t', 'job-130000-other job-190000-other|f')
{
	my $after = defined $token ? "'$token'" : 'NULL';
	is($node->safe_psql('postgres', qq[SET ROLE other; SELECT string_agg(instance_id, ' '), bool_or(continuation_token IS NOT NULL)
		FROM durable.query_instances(instance_id_prefix => 'job-', page_size => 2, continuation_token => $after)]), $page, 'a page of what a role may see');
	$token = $node->safe_psql('postgres', qq[SET ROLE other; SELECT max(continuation_token)
		FROM durable.query_instances(instance_id_prefix => 'job-', page_size => 2, continuation_token => $after)]);
}
is($token, '', 'no token after the last');
is($node->safe_psql('postgres', q[SELECT count(*), count(continuation_token) FROM durable.query_instances('{Failed}', instance_id_prefix => 'job-', page_size => 100000)]), '2000|0', 'a filter leaves little, which one page has');
my ($rc, $out, $err) = $node->psql('postgres', q[\set VERBOSITY sqlstate
SET ROLE other; SET statement_timeout = 1; SELECT count(*) FROM durable.query_instances('{Terminated}', instance_id_prefix => 'job-')]);
like($err, qr/57014/, 'a timeout ends it');

# Whatever the locale and the encoding of the database, the order is that of bytes.
my %databases = (latin => q[ENCODING 'LATIN1' LOCALE 'C']);
$databases{icu} = q[ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'] if $node->safe_psql('postgres', q[SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i']) eq 't';
foreach my $database (sort keys %databases)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 $databases{$database}");
	$node->safe_psql($database, "CREATE EXTENSION durable; SELECT durable.grant_usage('other'); $setup");
	poll_until($node, q[SELECT runtime_status = 'Completed' FROM durable.get_status('pattern')], "$database: an instance has ended", undef, $database);
	$node->safe_psql($database, q[CALL fill(1, 4000, $$(ARRAY['a-', 'A', 'a', 'a_', 'ä', 'Ä', 'Z', 'z', 'ÿ', 'ÿÿ', 'aÿ', 'aÿÿ'])[1 + i % 12] || (ARRAY['', 'ÿ', 'é', 'E', 'e'])[1 + i % 5] || i$$)]);
	is($node->safe_psql($database, q[SELECT prefix, size FROM unnest('{a,A,ä,Ä,z,ÿ,ÿÿ,ÿÿÿ,aÿ,aÿÿ,b,-}'::text[]) prefix, unnest('{7,1000}'::int[]) size WHERE differences(prefix, size) <> 0]), '', "$database: pages are those of the view");
}

$node->stop;
done_testing();
