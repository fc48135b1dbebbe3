-- Finding and counting instances: filters, paging, tokens, visibility.
\set VERBOSITY terse
\set later '''2999-01-01 00:00Z'''
CREATE FUNCTION query_one(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION query_two(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION query_fail(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'failed %', x; END $$;
CREATE FUNCTION query_parent() RETURNS jsonb LANGUAGE sql AS $$
    SELECT to_jsonb(durable.when_all(VARIADIC ARRAY(SELECT durable.schedule_sub_orchestrator('query_one', to_jsonb(i), 'query-child-' || i) FROM generate_series(1, 3) i))) $$;
CREATE FUNCTION query_spy() RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(count(*)) FROM durable.query_instances() $$;
CREATE FUNCTION query_count_spy() RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(count(*)) FROM durable.count_instances() $$;
-- Ids and counts by a filter; all pages by one.
CREATE FUNCTION query_found(filter text) RETURNS TABLE (ids text, counts text) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT (SELECT string_agg(substr(instance_id, 7), '' '') FROM durable.query_instances(%1$s)),
        (SELECT string_agg(runtime_status || '' '' || count, '', '') FROM durable.count_instances(%1$s))', filter);
END $$;
CREATE FUNCTION query_paged(filter text, page_size int, OUT ids text, OUT pages int) LANGUAGE plpgsql AS $$
DECLARE
    token text;
    page text[];
    tokens text[];
BEGIN
    pages := 0;
    LOOP
        EXECUTE format('SELECT array_agg(instance_id), array_agg(continuation_token) FROM durable.query_instances(%s page_size => $1, continuation_token => $2)', filter)
           INTO page, tokens USING page_size, token;
        EXIT WHEN page IS NULL;
        pages := pages + 1;
        ids := concat_ws(' ', ids, array_to_string(page, ' '));
        token := tokens[cardinality(tokens)];
        IF cardinality(array_remove(tokens[:cardinality(tokens) - 1], NULL)) > 0 OR (token IS NULL) <> (cardinality(page) < page_size OR token IS NULL) THEN
            RAISE 'token where none belongs';
        END IF;
        EXIT WHEN token IS NULL;
    END LOOP;
END $$;
CREATE ROLE regress_durable_query_1 LOGIN;
CREATE ROLE regress_durable_query_2 LOGIN;
CREATE ROLE regress_durable_query_monitor LOGIN IN ROLE pg_monitor;
SELECT durable.grant_usage(role) FROM unnest('{regress_durable_query_1,regress_durable_query_2,regress_durable_query_monitor}'::regrole[]) role;

-- A mixed lot, owned by regress_durable_query_1; each later than the one before.
SET ROLE regress_durable_query_1;
SELECT durable.query_instances();
SELECT * FROM durable.count_instances();
SELECT count(durable.start_new('query_one', to_jsonb(i), 'query-a-' || lpad(i::text, 2, '0'), tags => jsonb_build_object('parity', i % 2, 'list', '[1, 2]'::jsonb)))
  FROM generate_series(1, 12) i;
SELECT count(durable.start_new('query_two', to_jsonb(i), 'query-b-' || i, start_at => :later, tags => '{"kind": "late"}'))
  FROM generate_series(1, 4) i;
SELECT count(durable.start_new('query_fail', to_jsonb(i), 'query-c-' || i)) FROM generate_series(1, 3) i;
SELECT durable.start_new('query_parent', instance_id => 'query-parent');
SELECT durable.terminate('query-b-2', 'not wanted');
SELECT durable.suspend('query-b-3', 'wait');
SELECT count((durable.wait_for_completion(instance_id, '1 min')).runtime_status)
  FROM durable.instances WHERE runtime_status <> 'Suspended' AND parent_instance_id IS NULL AND (name <> 'query_two' OR instance_id = 'query-b-2');
RESET ROLE;
DO $$ BEGIN
    FOR i IN 1..6000 LOOP
        EXIT WHEN (durable.get_status('query-b-3')).runtime_status = 'Suspended';
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SET ROLE regress_durable_query_1;

-- All, in order; the same as the view has.
SELECT instance_id, name, runtime_status, input, output, tags, parent_instance_id, failure ->> 'message' AS message,
       completed_time IS NOT NULL AS ended, scheduled_start_time, owner, history, continuation_token
  FROM durable.query_instances();
SELECT count(*) AS different
  FROM (SELECT row_number() OVER (), q.* FROM durable.query_instances() q) q
  FULL JOIN (SELECT row_number() OVER (ORDER BY created_time, instance_id), i.* FROM durable.instances i) i
    USING (row_number)
 WHERE (q.instance_id, q.name, q.function, q.version, q.runtime_status, q.input, q.output, q.custom_status, q.created_time,
        q.last_updated_time, q.completed_time, q.scheduled_start_time, q.execution_id, q.parent_instance_id, q.tags, q.failure, q.owner)
       IS DISTINCT FROM
       (i.instance_id, i.name, i.function, i.version, i.runtime_status, i.input, i.output, i.custom_status, i.created_time,
        i.last_updated_time, i.completed_time, i.scheduled_start_time, i.execution_id, i.parent_instance_id, i.tags, i.failure, i.owner);

-- Each filter, and its count.
SELECT filter, f.*
  FROM unnest(ARRAY['', '''{Failed}''', '''{Pending,Suspended}''', '''{Terminated,Completed}''', '''{Running}''', '''{ContinuedAsNew}''', '''{}''',
                    'name => ''query_two''', 'name => ''query''', 'name => ''query_one'', runtime_status => ''{Failed}''',
                    'instance_id_prefix => ''query-c''', 'instance_id_prefix => ''''', 'instance_id_prefix => ''query-%''', 'instance_id_prefix => ''query-a-03''',
                    'instance_id_prefix => ''query-b'', runtime_status => ''{Pending}''', 'instance_id_prefix => ''query-'', name => ''query_fail''',
                    'tags => ''{"parity": 0}''', 'tags => ''{}''', 'tags => ''{"list": [2]}'', instance_id_prefix => ''query-a-0''', 'tags => ''{"parity": 1, "kind": "late"}''',
                    'parent_instance_id => ''query-parent''', 'parent_instance_id => ''query-none''', 'parent_instance_id => ''query-parent'', instance_ids => ''{query-child-2,query-a-01}''',
                    'parent_instance_id => ''query-parent'', runtime_status => ''{Failed}''',
                    'instance_ids => ''{query-c-2,query-a-05,query-none,query-c-2,NULL,query-a-01}''', 'instance_ids => ''{}''', 'instance_ids => ''{query-c-2,query-a-05}'', instance_id_prefix => ''query-c''',
                    'created_time_from => (SELECT created_time FROM durable.get_status(''query-b-1'')), created_time_to => (SELECT created_time FROM durable.get_status(''query-c-1''))',
                    'created_time_from => (SELECT created_time FROM durable.get_status(''query-c-3''))', 'created_time_to => (SELECT created_time FROM durable.get_status(''query-a-02''))',
                    'created_time_from => ''-infinity'', created_time_to => ''infinity'', name => ''query_two''', 'created_time_from => ''infinity''', 'created_time_to => ''2000-01-01''']) WITH ORDINALITY AS t (filter, n),
       query_found(filter) f
 ORDER BY n;
SELECT count(input) FROM durable.query_instances(name => 'query_one', show_input => false);

-- Pages: each filter's pages together are its whole result, whatever their size.
SELECT filter, page_size, pages,
       ids IS NOT DISTINCT FROM (SELECT string_agg(i.instance_id, ' ' ORDER BY i.created_time, i.instance_id) FROM durable.instances i WHERE CASE n WHEN 1 THEN true WHEN 2 THEN i.runtime_status = 'Completed' WHEN 3 THEN i.name = 'query_one' WHEN 4 THEN i.instance_id ^@ 'query-a' WHEN 5 THEN i.tags @> '{"parity": 1}' WHEN 6 THEN i.parent_instance_id = 'query-parent' END) AS complete
  FROM unnest(ARRAY['', '''{Completed}'',', 'name => ''query_one'',', 'instance_id_prefix => ''query-a'',', 'tags => ''{"parity": 1}'',', 'parent_instance_id => ''query-parent'',']) WITH ORDINALITY AS t (filter, n),
       unnest('{1,2,3,7,23,24,100}'::int[]) page_size,
       query_paged(filter, page_size)
 ORDER BY n, page_size;

-- Paging goes on where it was, whatever happens in between.
SELECT continuation_token AS token FROM durable.query_instances(page_size => 12) OFFSET 11 \gset
SELECT durable.purge_instance_history('query-a-12');
SELECT durable.resume('query-b-3');
SELECT string_agg(instance_id, ' ') FROM durable.query_instances(continuation_token => :'token');
SELECT string_agg(instance_id, ' ') FROM durable.query_instances(created_time_from => (SELECT created_time FROM durable.get_status('query-c-2')), continuation_token => :'token');

-- Many groups of the same time: the id decides.
BEGIN;
RESET ROLE;
UPDATE durable_internal.instances SET created_time = '2001-01-01' WHERE instance_id LIKE 'query-%';
SET ROLE regress_durable_query_1;
SELECT ids = (SELECT string_agg(instance_id, ' ' ORDER BY instance_id COLLATE "C") FROM durable.instances) AS by_id, pages FROM query_paged('', 4);
ROLLBACK;
SET ROLE regress_durable_query_1;

-- With an id prefix the ids are in order, by bytes, whatever the times; a token of one order is refused in the other.
BEGIN;
RESET ROLE;
UPDATE durable_internal.instances SET created_time = '2001-01-01'::timestamptz - make_interval(secs => ascii(right(instance_id, 1))) WHERE instance_id LIKE 'query-%';
SET ROLE regress_durable_query_1;
SELECT filter, page_size, pages,
       ids IS NOT DISTINCT FROM (SELECT string_agg(i.instance_id, ' ' ORDER BY i.instance_id COLLATE "C") FROM durable.instances i WHERE CASE n WHEN 1 THEN i.instance_id ^@ 'query-' WHEN 2 THEN i.instance_id ^@ 'query-a-' AND i.tags @> '{"parity": 1}' WHEN 3 THEN i.runtime_status = 'Completed' WHEN 4 THEN i.name = 'query_two' WHEN 5 THEN i.parent_instance_id = 'query-parent' WHEN 6 THEN i.instance_id IN ('query-c-2', 'query-a-05', 'query-b-1') WHEN 7 THEN i.created_time < '2001-01-01'::timestamptz - interval '50 s' END) AS by_id
  FROM unnest(ARRAY['', 'tags => ''{"parity": 1}'', instance_id_prefix => ''query-a-'',', '''{Completed}'',', 'name => ''query_two'',', 'parent_instance_id => ''query-parent'',', 'instance_ids => ''{query-c-2,query-a-05,query-b-1,none}'',', 'created_time_to => ''2001-01-01''::timestamptz - interval ''51 s'',']) WITH ORDINALITY AS t (filter, n),
       unnest('{1,4,100}'::int[]) page_size,
       query_paged(filter || CASE n WHEN 2 THEN '' ELSE 'instance_id_prefix => ''query-'',' END, page_size)
 ORDER BY n, page_size;
SELECT continuation_token AS by_id FROM durable.query_instances(instance_id_prefix => 'query-', page_size => 11) OFFSET 10 \gset
SELECT string_agg(instance_id, ' ') FROM durable.query_instances(instance_id_prefix => 'query-', continuation_token => :'by_id', page_size => 3);
-- The token of another prefix: what comes after it, of this one.
SELECT string_agg(instance_id, ' ') FROM durable.query_instances(instance_id_prefix => 'query-c', continuation_token => :'by_id');
SELECT count(*) FROM durable.query_instances(instance_id_prefix => 'query-a-0', continuation_token => :'by_id');
\set VERBOSITY default
SAVEPOINT s;
SELECT * FROM durable.query_instances(continuation_token => :'by_id');
ROLLBACK TO s;
SELECT * FROM durable.query_instances(instance_id_prefix => '', continuation_token => :'by_id');
ROLLBACK TO s;
SELECT * FROM durable.query_instances(instance_id_prefix => 'query-', continuation_token => :'token');
\set VERBOSITY terse
ROLLBACK;
SET ROLE regress_durable_query_1;

-- Tags that only one group has, and there few rows: pages are complete, and no other group is read to its end for them.
BEGIN;
SELECT count(durable.start_new(CASE i % 3 WHEN 0 THEN 'query_one' ELSE 'query_two' END, instance_id => 'query-rare-' || i, start_at => :later,
                               tags => CASE i % 90 WHEN 0 THEN '{"rare": true}'::jsonb ELSE '{}' END))
  FROM generate_series(1, 9000) i;
SELECT page_size, pages, ids = (SELECT string_agg('query-rare-' || i, ' ' ORDER BY i) FROM generate_series(90, 9000, 90) i) AS complete
  FROM unnest('{1,7,99,100,101}'::int[]) page_size, query_paged('tags => ''{"rare": true}'',', page_size);
RESET ROLE;
SELECT pg_stat_get_xact_tuples_fetched('durable_internal.instances_listing'::regclass) AS before \gset
SELECT instance_id FROM durable.query_instances(tags => '{"rare": true}', page_size => 1);
SELECT pg_stat_get_xact_tuples_fetched('durable_internal.instances_listing'::regclass) - :before < 1000 AS few;
ROLLBACK;
SET ROLE regress_durable_query_1;

-- Bad tokens and arguments.
SELECT * FROM durable.query_instances(continuation_token => '');
SELECT * FROM durable.query_instances(continuation_token => 'nonsense');
SELECT * FROM durable.query_instances(continuation_token => '00');
SELECT * FROM durable.query_instances(continuation_token => :'token' || '0');
SELECT * FROM durable.query_instances(continuation_token => :'token' || '00');
SELECT * FROM durable.query_instances(continuation_token => upper(:'token') || 'AB');
SELECT * FROM durable.query_instances(continuation_token => translate(:'token', '01234567', '12345670'));
SELECT * FROM durable.query_instances(page_size => 0);
SELECT * FROM durable.query_instances(page_size => 100001);
SELECT * FROM durable.query_instances(page_size => NULL);
SELECT * FROM durable.query_instances(show_input => NULL);
SELECT * FROM durable.query_instances('{NULL}');
SELECT * FROM durable.query_instances(tags => '[1]');
SELECT * FROM durable.count_instances('{NULL}');
SELECT * FROM durable.count_instances(tags => '1');
SELECT durable.start_new('query_spy', instance_id => 'query-spy'), durable.start_new('query_count_spy', instance_id => 'query-spy-2');
SELECT (s).failure ->> 'sqlstate' AS sqlstate, (s).output FROM unnest('{query-spy,query-spy-2}'::text[]) id, durable.wait_for_completion(id, '1 min') s;

-- Visibility: of others nothing, by any filter or with their token.
RESET ROLE;
GRANT regress_durable_query_2 TO regress_durable_query_1;
SET ROLE regress_durable_query_2;
SELECT count(*) FROM durable.query_instances();
SELECT count(*) FROM durable.query_instances('{Completed}', name => 'query_one');
SELECT count(*) FROM durable.query_instances(instance_id_prefix => 'query');
SELECT count(*) FROM durable.query_instances(instance_ids => '{query-a-01}');
SELECT count(*) FROM durable.query_instances(parent_instance_id => 'query-parent');
SELECT count(*) FROM durable.query_instances(continuation_token => :'token');
SELECT count(*) FROM durable.query_instances(instance_id_prefix => 'query', continuation_token => :'by_id');
SELECT count(*) FROM durable.count_instances();
SELECT durable.start_new('query_one', instance_id => 'query-mine', start_at => :later);
SELECT instance_id FROM durable.query_instances();
SELECT instance_id, continuation_token FROM durable.query_instances(instance_id_prefix => 'query', page_size => 1);
SELECT * FROM durable.count_instances();
-- A member sees those of the role too, in one order.
SET ROLE regress_durable_query_1;
SELECT count(*), count(DISTINCT owner) FROM durable.query_instances();
SELECT ids ~ 'query-mine$' AS last FROM query_paged('', 5);
SET ROLE regress_durable_query_monitor;
SELECT count(*) > 20 FROM durable.query_instances(instance_id_prefix => 'query-');
SELECT sum(count) > 20 FROM durable.count_instances(instance_id_prefix => 'query-');
RESET ROLE;

-- With the snapshot of the statement, in every isolation level, and in a read-only transaction.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(durable.start_new('query_one', instance_id => 'query-own', start_at => :later));
SELECT count(*) FROM durable.query_instances(instance_id_prefix => 'query-own');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT count(*) FROM durable.query_instances(name => 'query_fail');
SELECT * FROM durable.count_instances(name => 'query_fail');
COMMIT;

-- Nothing is left behind.
DO $$ BEGIN
    PERFORM durable.terminate(instance_id) FROM durable.query_instances('{Pending,Running,Suspended}', instance_id_prefix => 'query-');
END $$;
SELECT count((durable.wait_for_completion(instance_id, '1 min')).runtime_status) FROM durable.query_instances(instance_id_prefix => 'query-b');
SELECT (durable.wait_for_completion('query-mine', '1 min')).runtime_status;
DO $$ BEGIN PERFORM durable.purge_instance_history(instance_id) FROM durable.query_instances(instance_id_prefix => 'query-'); END $$;
SELECT * FROM durable.count_instances(instance_id_prefix => 'query-');
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'query%';
SELECT durable.revoke_usage(role) FROM unnest('{regress_durable_query_1,regress_durable_query_2,regress_durable_query_monitor}'::regrole[]) role;
DROP FUNCTION query_one, query_two, query_fail, query_parent, query_spy, query_count_spy, query_found, query_paged;
DROP ROLE regress_durable_query_1, regress_durable_query_2, regress_durable_query_monitor;
