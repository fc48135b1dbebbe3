# A view or a policy keeps a tenant from the rows of others. PostgreSQL looks at conditions of a query that it takes for
# leakproof whenever it likes, also before it asks whether the tenant may see the row, and in indexes. Nothing tells the
# tenant what such a condition has found: no subquery of the condition, no count of EXPLAIN ANALYZE and no estimate.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('counts', conf => "durable.max_workers = 2\njit = off\n");

$node->safe_psql('postgres', q[
CREATE ROLE curious LOGIN; CREATE ROLE victim LOGIN;
SELECT durable.grant_usage('curious'), durable.grant_usage('victim');
SELECT durable.set_quota('victim', 1000, 1000, 100000, 1000);
CREATE FUNCTION public.secret_name(input jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.set_custom_status('{"secret": 1}');
	PERFORM durable.call_activity('public.secret_step', to_jsonb(1));
	PERFORM durable.call_activity('public.secret_failure', retry => durable.retry_policy(2, '1 hour'));
	RETURN 'done';
END $$;
CREATE FUNCTION public.secret_step(input jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.secret_failure() RETURNS int LANGUAGE sql AS 'SELECT 1/0';
CREATE FUNCTION public.secret_parent() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.call_sub_orchestrator('public.secret_child', instance_id => 'hidden-child');
	PERFORM 1/0;
END $$;
CREATE FUNCTION public.secret_child() RETURNS int LANGUAGE sql AS 'SELECT 1';
-- waits in the queue, and one that a worker runs
CREATE FUNCTION public.secret_fan() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM durable.when_all(ARRAY(SELECT durable.schedule_activity('public.secret_lock', to_jsonb(i), timeout => '1 h') FROM generate_series(1, 3) i));
END $$;
CREATE FUNCTION public.secret_lock(input jsonb) RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(1)';
-- An error in the place of a notice, which tells as much.
CREATE FUNCTION public.hit() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN RAISE SQLSTATE 'SEEN1'; END $$;
]);

# The other way round: which conditions of the loop are met by rows that are there, for each relation that users may
# read, each of its columns, each condition that PostgreSQL may look at early, and each way to plan.
$node->safe_psql('postgres', q[
CREATE FUNCTION public.probe() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	tried record;
BEGIN
	FOR tried IN
		SELECT c.oid::regclass::text AS relation, a.attname::text AS field, settings.list AS settings, format(statement.text, c.oid::regclass, condition.text) AS query
		  FROM pg_class c
		  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		  JOIN pg_type t ON t.oid = a.atttypid
		 CROSS JOIN LATERAL (
			SELECT format('CASE WHEN %s THEN (SELECT public.hit()) ELSE false END', format(test, quote_ident(a.attname))) AS text
			  FROM (VALUES ('%s IS NOT NULL', true),
						   ('%s IS NULL', true),
						   ('%1$s IS NOT DISTINCT FROM %1$s', t.typname NOT IN ('owner')),
						   ('%s', t.typname = 'bool'),
						   ('NOT %s', t.typname = 'bool'),
						   ('(%s)[''secret''] IS NOT NULL', t.typname = 'jsonb'),
						   ('(%s)[''secret''] IS NULL', t.typname = 'jsonb'),
						   ('(''{"public.secret_name": 1}''::jsonb)[%s] IS NOT NULL', t.typname = 'text'),
						   ('(''{"public.secret_name": 1}''::jsonb)[%s] IS NULL', t.typname = 'text'),
						   ('%s COLLATE "C" >= ''''', t.typname = 'text'),
						   ('(%s)[1] IS NULL', t.typcategory = 'A')) tests (test, fits)
			 WHERE fits) condition
		 CROSS JOIN LATERAL (
			VALUES ('SELECT FROM %s WHERE %s', true),
				   ('SELECT FROM %s WHERE %s FOR UPDATE', has_table_privilege(c.oid, 'UPDATE')),
				   ('UPDATE %s SET name = name WHERE %s', has_table_privilege(c.oid, 'UPDATE')),
				   ('DELETE FROM %s WHERE %s', has_table_privilege(c.oid, 'DELETE'))) statement (text, possible)
		 CROSS JOIN (
			VALUES ('{}'::text[]),
				   ('{enable_seqscan=off,enable_bitmapscan=off}'),
				   ('{enable_hashjoin=off,enable_mergejoin=off,enable_material=off}'),
				   ('{enable_nestloop=off}'),
				   ('{cpu_operator_cost=0,cpu_tuple_cost=0,seq_page_cost=0,random_page_cost=0,cpu_index_tuple_cost=0}'),
				   ('{cpu_operator_cost=1e10}'),
				   ('{cpu_operator_cost=1e308}')) settings (list)
		 WHERE c.relnamespace = 'durable'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
		   AND has_any_column_privilege(c.oid, 'SELECT') AND statement.possible
	LOOP
		BEGIN
			PERFORM set_config(split_part(s, '=', 1), split_part(s, '=', 2), true) FROM unnest(tried.settings) s;
			EXECUTE tried.query;
			-- what it has set or deleted is undone
			RAISE SQLSTATE 'SEEN0';
		EXCEPTION
			WHEN SQLSTATE 'SEEN0' THEN
				NULL;
			WHEN SQLSTATE 'SEEN1' THEN
				RETURN NEXT concat_ws(' ', tried.relation || '.' || tried.field, tried.settings, tried.query);
		END;
	END LOOP;
END $$]);

# Which plans differ between a value that rows of others have and one that nobody has.
$node->safe_psql('postgres', q[
CREATE FUNCTION public.plan_of(query text, options text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	lines text := '';
BEGIN
	FOR line IN EXECUTE format('EXPLAIN (%s) %s', options, query) LOOP
		lines := concat(lines, line, E'\n');
	END LOOP;
	RETURN lines;
END $$;
CREATE FUNCTION public.differing(OUT tried bigint, OUT differing text[]) LANGUAGE plpgsql AS $$
DECLARE
	plan record;
BEGIN
	tried := 0;
	differing := '{}';
	FOR plan IN
		SELECT format('SELECT * FROM %s WHERE ', c.oid::regclass) || format(test, quote_ident(a.attname), quote_literal(hit)) AS hit,
			   format('SELECT * FROM %s WHERE ', c.oid::regclass) || format(test, quote_ident(a.attname), quote_literal(miss)) AS miss,
			   quote_literal(hit) AS hit_value, quote_literal(miss) AS miss_value, settings, options
		  FROM pg_class c
		  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		 CROSS JOIN (
			VALUES ('%s = %s', 'public.secret_name', 'nobody'), ('%s = %s', 'public.secret_step', 'nobody'), ('%s = %s', 'public.secret_failure', 'nobody'),
				   ('%s = %s', 'public.secret_name(pg_catalog.jsonb)', 'nobody'), ('%s = %s', 'secret_version', 'nobody'),
				   ('%s = %s', 'secret_schedule', 'nobody'), ('%s = %s', 'secret_path', 'nobody'),
				   ('%s >= %s COLLATE "C"', '!', '~'), ('%s >= %s', '', '~~~'), ('md5(%s) >= %s COLLATE "C"', '0', 'g'), ('md5(%s) >= %s', '0', 'g'),
				   ('repeat(%s, 1) >= %s', '', '~~~'), ('repeat(%s, 1) = %s', 'secret_schedule', 'nobody')) tests (test, hit, miss)
		 CROSS JOIN (VALUES ('{}'::text[]), ('{enable_seqscan=off,enable_bitmapscan=off}'), ('{enable_seqscan=off,enable_indexscan=off}')) s (settings)
		 CROSS JOIN (VALUES ('ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF'), ('COSTS')) o (options)
		 WHERE c.relnamespace = 'durable'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f') AND a.atttypid = 'text'::regtype
		   AND has_any_column_privilege(c.oid, 'SELECT')
		   -- docs/security.md says that ids are not secret; a constant of the view is in the plan
		   AND a.attname NOT IN ('instance_id', 'parent_instance_id', 'event_type')
	LOOP
		PERFORM set_config(name, CASE WHEN name || '=off' = ANY (plan.settings) THEN 'off' ELSE 'on' END, true)
		   FROM unnest('{enable_seqscan,enable_bitmapscan,enable_indexscan}'::text[]) name;
		tried := tried + 1;
		-- the second time for durable.workers: one may have left just now
		IF replace(public.plan_of(plan.hit, plan.options), plan.hit_value, plan.miss_value) <> public.plan_of(plan.miss, plan.options)
		   AND replace(public.plan_of(plan.hit, plan.options), plan.hit_value, plan.miss_value) <> public.plan_of(plan.miss, plan.options) THEN
			differing := differing || concat_ws(' ', plan.settings, plan.options, plan.hit);
		END IF;
	END LOOP;
END $$]);

my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
$node->safe_psql('postgres', q[
SELECT durable.start_new('public.secret_name', to_jsonb(i), instance_id => 'hidden-' || i, version => 'secret_version', tags => '{"secret": 1}') FROM generate_series(1, 50) i;
SELECT durable.start_new('public.secret_parent', instance_id => 'hidden-parent');
INSERT INTO durable.schedules (schedule_name, cron_expression, name, input, version, tags, allow_overlap, search_path)
SELECT concat('secret_schedule', nullif(i, 1)), '* * * * *', 'public.secret_name', '{"secret": 1}', 'secret_version', '{"secret": 1}', true, 'secret_path' FROM generate_series(1, 50) i],
	extra_params => [ '-U', 'victim' ]);
poll_until($node, q[SELECT count(*) >= 50 FROM durable.timers], 'everything waits');
poll_until($node, q[SELECT runtime_status = 'Failed' FROM durable.get_status('hidden-parent')], 'one has ended');
$node->safe_psql('postgres', q[SELECT durable.start_new('public.secret_fan', instance_id => 'hidden-fan')], extra_params => [ '-U', 'victim' ]);
poll_until($node, q[SELECT count(*) = 3 FROM durable.activities WHERE instance_id = 'hidden-fan'], 'some wait in the queue');
$node->safe_psql('postgres', 'VACUUM ANALYZE');

sub lines_of
{
	my ($role, $query) = @_;

	return [ split /\n/, $node->safe_psql('postgres', $query, extra_params => [ '-U', $role ]) ];
}

is_deeply(lines_of('curious', 'SELECT public.probe()'), [], 'no condition is looked at for a row that is not to be seen');
# durable.databases has rows for others than users
is_deeply(
	lines_of('victim', q[SELECT DISTINCT split_part(p, ' ', 1) AS c FROM public.probe() p ORDER BY c]),
	lines_of('victim', q[SELECT format('%s.%s', c.oid::regclass, a.attname) AS f
		  FROM pg_class c
		  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
		 WHERE c.relnamespace = 'durable'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'databases'
		 ORDER BY f]),
	'for the owner all of the columns have been tried');

my ($tried, $differing) = split /\|/, $node->safe_psql('postgres', q[SELECT tried, array_to_string(differing, E'\n') FROM public.differing()], extra_params => [ '-U', 'curious' ]);
cmp_ok($tried, '>', 1000, 'many plans');
is($differing // '', '', 'EXPLAIN says the same of a value that others have and of one that nobody has');

$lock->query_safe('SELECT pg_advisory_unlock(1)');
$lock->quit;
$node->stop;
done_testing();
