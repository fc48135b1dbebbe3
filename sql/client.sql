-- Client functions: what they refuse, ids, duplicates, visibility.  Instances
-- have a start_at in the far future where the test needs them to stay Pending.
\set VERBOSITY terse
\set later '''2999-01-01 00:00Z'''
CREATE FUNCTION client_echo(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION client_add(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT a + b';
CREATE FUNCTION client_twice(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION client_twice(a text) RETURNS text LANGUAGE sql AS 'SELECT a';

-- The SQLSTATE of a statement, or what it returns.
CREATE FUNCTION client_try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE statement INTO result;
    RETURN coalesce(result, 'null');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;

-- Arguments.
SELECT durable.start_new(NULL);
SELECT durable.start_new('client_echo', tags => '[1]');
SELECT durable.start_new('client_echo', start_at => 'infinity');
SELECT durable.start_new('client_echo', on_duplicate => 'replace');
SELECT durable.start_new('client_echo', on_duplicate => NULL);
SELECT durable.start_new('client_echo', dedupe_statuses => NULL);
SELECT durable.start_new('client_echo', instance_id => 'client-null', dedupe_statuses => '{NULL}');
SELECT call, left(client_try(call), 5) AS sqlstate
  FROM (VALUES ('SELECT durable.start_new(''client_no_such'')'),
               ('SELECT durable.start_new(''no_such_schema.f'')'),
               ('SELECT durable.start_new(''client_twice'', ''1'')'),
               ('SELECT durable.terminate(NULL)'),
               ('SELECT durable.terminate(''x'', recursive => NULL)'),
               ('SELECT durable.raise_event(NULL, ''e'')'),
               ('SELECT durable.raise_event(''x'', NULL)'),
               ('SELECT durable.raise_event(''x'', '''')'),
               ('SELECT durable.raise_event(''x'', repeat(''e'', 257))'),
               ('SELECT durable.suspend(NULL)'),
               ('SELECT durable.resume(NULL)'),
               ('SELECT durable.set_custom_status(NULL, ''1'')'),
               ('SELECT durable.wait_for_completion(NULL)'),
               ('SELECT durable.wait_for_completion(''x'', ''-1 s'')'),
               ('SELECT durable.grant_usage(NULL)'),
               ('SELECT durable.revoke_usage(NULL)')) c (call);
-- An input that does not fit stores nothing.
SELECT client_try('SELECT durable.start_new(''client_add'', ''{"c": 1}'', instance_id => ''client-bad'')') ~ '^[0-9A-Z]{5} ' AS refused;
SELECT durable.get_status('client-bad') IS NULL AS none;
BEGIN READ ONLY;
SELECT durable.start_new('client_echo');
ROLLBACK;
BEGIN READ ONLY;
SELECT durable.raise_event('x', 'e');
ROLLBACK;

-- Ids.
SELECT id, client_try(format('SELECT durable.start_new(''client_echo'', instance_id => %L, start_at => %L)', id, :later)) AS result
  FROM unnest(ARRAY['', '@x', 'a/b', E'a\\b', 'a#b', 'a?b', E'a\nb', E'a\x7f', 'client @ä€ ok', 'client-1']) id;
SELECT length(id), left(client_try(format('SELECT durable.start_new(''client_echo'', instance_id => %L, start_at => %L)', id, :later)), 30) AS result
  FROM (VALUES (repeat('ä', 256)), (repeat('ä', 257))) v (id);
-- Ids that are made are hexadecimal and in the order of time.
SELECT count(DISTINCT id), bool_and(id ~ '^[0-9a-f]{32}$') AS hexadecimal, bool_and(id > previous) AS ascending
  FROM (SELECT id, lag(id, 1, '') OVER (ORDER BY n) AS previous
          FROM (SELECT n, durable.start_new('client_echo', start_at => :later) AS id FROM generate_series(1, 100) n OFFSET 0) s) t;

-- What is stored.
SELECT durable.start_new('client_add', '{"a": 1}', instance_id => 'client-stored', start_at => :later, version => 'v1', tags => '{"k": "v"}');
SELECT instance_id, name, function, version, runtime_status, input, output, custom_status, completed_time,
       scheduled_start_time = :later AS start_at, parent_instance_id, tags, failure,
       owner = current_user::regrole AS mine, history, continuation_token, created_time = last_updated_time AS untouched
  FROM durable.get_status('client-stored');
SELECT i.runtime_status, i.input, i.tags FROM durable.instances i WHERE instance_id = 'client-stored';
SELECT sequence_number, event_type, task_id, name, input, result, failure, attempt FROM durable.history WHERE instance_id = 'client-stored';
SELECT task_id, fire_at = :later AS due FROM durable.timers WHERE instance_id = 'client-stored';
SELECT history - 'event_time' AS event, input
  FROM (SELECT jsonb_array_elements(history) AS history, input FROM durable.get_status('client-stored', show_history => true)) s;
SELECT history #- '{0,event_time}' AS history, input FROM durable.get_status('client-stored', true, true, show_input => false);
SELECT durable.get_status('client-none') IS NULL AS none, durable.get_status(NULL) IS NULL AS null;
-- A start_at in the past does not delay.
SELECT durable.start_new('client_add', '[1, 2]', instance_id => 'client-past', start_at => '2000-01-02');
SELECT runtime_status, output FROM durable.wait_for_completion('client-past', '1 min');

-- Part of the transaction.
BEGIN;
SELECT durable.start_new('client_echo', instance_id => 'client-gone', start_at => :later);
SELECT (durable.get_status('client-gone')).runtime_status;
ROLLBACK;
SELECT durable.get_status('client-gone') IS NULL AS none;
BEGIN;
SAVEPOINT s;
SELECT durable.start_new('client_echo', '1', instance_id => 'client-savepoint', start_at => :later);
ROLLBACK TO s;
SELECT durable.start_new('client_echo', '2', instance_id => 'client-savepoint', start_at => :later);
SELECT durable.wait_for_completion('client-savepoint');
ROLLBACK;

-- Duplicates.
SELECT durable.start_new('client_echo', '2', instance_id => 'client-1');
SELECT durable.start_new('client_echo', '2', instance_id => 'client-1', on_duplicate => 'ignore');
SELECT (durable.get_status('client-1')).input;
SELECT durable.start_new('client_echo', '3', instance_id => 'client-1', start_at => :later, dedupe_statuses => '{Running,Failed}');
SELECT (durable.get_status('client-1')).input;
SELECT count(*) FROM durable.timers WHERE instance_id = 'client-1';
-- Two of one statement see each other.
SELECT durable.start_new('client_echo', '1', instance_id => 'client-2', start_at => :later),
       durable.start_new('client_echo', '2', instance_id => 'client-2', on_duplicate => 'ignore');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT durable.start_new('client_echo', '5', instance_id => 'client-2', start_at => :later, dedupe_statuses => '{}');
SELECT durable.start_new('client_echo', '6', instance_id => 'client-2', start_at => :later, dedupe_statuses => '{}');
COMMIT;
SELECT (durable.get_status('client-2')).input;
-- One that has ended is replaced unless told otherwise.
SELECT durable.start_new('client_echo', '3', instance_id => 'client-past', dedupe_statuses => '{Completed}');
SELECT durable.start_new('client_echo', '3', instance_id => 'client-past');
SELECT name, output FROM durable.wait_for_completion('client-past', '1 min');

-- No such instance, or one that has ended.
SELECT function, client_try(format('SELECT durable.%s', format(function, 'client-none'))) AS absent,
       client_try(format('SELECT durable.%s', format(function, 'client-past'))) AS ended
  FROM unnest(ARRAY['terminate(%L)', 'raise_event(%L, ''e'')', 'suspend(%L)', 'resume(%L)']) function;
SELECT durable.wait_for_completion('client-none');
SELECT durable.set_custom_status('client-none', '1');
SELECT durable.set_custom_status('client-past', '"checked"');
SELECT custom_status, output FROM durable.get_status('client-past');

-- At the timeout the status is what it is; the end of another transaction is seen in every isolation level.
SELECT runtime_status FROM durable.wait_for_completion('client-1', '1 ms');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT runtime_status FROM durable.wait_for_completion('client-past', '1 min');
COMMIT;
-- The type is what the library takes it for.
BEGIN;
ALTER TYPE durable.orchestration_status ADD ATTRIBUTE added text;
SELECT durable.wait_for_completion('client-past', '1 min');
ROLLBACK;

-- Terminate.
SELECT durable.terminate('client-2', E'it''s "over"');
SELECT runtime_status, output FROM durable.wait_for_completion('client-2', '1 min');
SELECT event_type, result FROM durable.history WHERE instance_id = 'client-2' ORDER BY sequence_number;

-- Visibility.
CREATE ROLE regress_durable_owner LOGIN;
CREATE ROLE regress_durable_member LOGIN IN ROLE regress_durable_owner;
CREATE ROLE regress_durable_other LOGIN;
CREATE ROLE regress_durable_monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE regress_durable_nobody LOGIN;
SELECT durable.grant_usage(role)
  FROM unnest('{regress_durable_owner,regress_durable_member,regress_durable_other,regress_durable_monitor}'::regrole[]) role;
SET ROLE regress_durable_nobody;
SELECT durable.start_new('client_echo');
SELECT count(*) FROM durable.instances;
SET ROLE regress_durable_owner;
SELECT durable.start_new('client_echo', instance_id => 'client-owned', start_at => :later);
SELECT instance_id, owner FROM durable.instances;
SELECT count(*) FROM durable.history;
SELECT count(*) FROM durable.timers;
SELECT count(*) FROM durable_internal.instances;
-- Another's id is taken, whatever its status; nothing else is told.
SELECT durable.start_new('client_echo', instance_id => 'client-past');
SELECT durable.start_new('client_echo', instance_id => 'client-past', dedupe_statuses => '{}', on_duplicate => 'ignore');
SET ROLE regress_durable_other;
SELECT durable.get_status('client-owned') IS NULL AS none;
SELECT count(*) FROM durable.instances;
SELECT client_try(call)
  FROM (VALUES ('SELECT durable.terminate(''client-owned'')'),
               ('SELECT durable.raise_event(''client-owned'', ''e'')'),
               ('SELECT durable.suspend(''client-owned'')'),
               ('SELECT durable.resume(''client-owned'')'),
               ('SELECT durable.set_custom_status(''client-owned'', ''1'')'),
               ('SELECT durable.wait_for_completion(''client-owned'')')) c (call);
SET ROLE regress_durable_monitor;
SELECT instance_id, runtime_status FROM durable.instances WHERE instance_id = 'client-owned';
SELECT runtime_status FROM durable.wait_for_completion('client-owned', '1 ms');
SELECT durable.terminate('client-owned');
SET ROLE regress_durable_member;
SELECT instance_id, owner FROM durable.instances;
SELECT durable.terminate('client-owned', 'by a member');
SELECT runtime_status, output FROM durable.wait_for_completion('client-owned', '1 min');
RESET ROLE;
-- A function that the owner may not execute.
REVOKE EXECUTE ON FUNCTION client_add FROM PUBLIC;
SET ROLE regress_durable_owner;
SELECT durable.start_new('client_add', '{"a": 1}');
RESET ROLE;

-- Retry policies.
SELECT durable.retry_policy();
SELECT durable.retry_policy(5, '2 s', 1.5, '1 min', '1 h', '{23505,P0001}');
SELECT durable.retry_policy(max_attempts => 0);
SELECT durable.retry_policy(first_interval => '-1 s');
SELECT durable.retry_policy(backoff_coefficient => 0.5);
SELECT durable.retry_policy(backoff_coefficient => 'NaN');
SELECT durable.retry_policy(max_interval => '0');
SELECT durable.retry_policy(retry_timeout => '0');
SELECT durable.retry_policy(non_retryable => '{unique_violation}');

-- Deep in subtransactions nothing is started or sent: each row of such would cost everybody who passes over it.
CREATE FUNCTION client_nested(depth integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    text_of_error text;
    detail_of_error text;
BEGIN
    IF depth = 0 THEN
        RETURN durable.start_new('client_echo', '1', 'client-nested');
    END IF;
    RETURN client_nested(depth - 1);
EXCEPTION WHEN statement_too_complex THEN
    GET STACKED DIAGNOSTICS text_of_error = MESSAGE_TEXT, detail_of_error = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(E'\n', text_of_error, detail_of_error);
END
$$;
SELECT client_nested(32);
SELECT client_nested(31);
SELECT runtime_status FROM durable.wait_for_completion('client-nested');
DROP FUNCTION client_nested;

-- Nothing is left behind.
DO $$
BEGIN
    PERFORM durable.terminate(instance_id) FROM durable.instances WHERE name LIKE 'client%' AND runtime_status = 'Pending';
END
$$;
SELECT DISTINCT (durable.wait_for_completion(instance_id, '1 min')).runtime_status FROM durable.instances WHERE name = 'client_echo' AND scheduled_start_time = :later;
SELECT count(*) FROM durable.timers WHERE instance_id LIKE 'client%';
SELECT * FROM durable_internal.violations WHERE instance_id LIKE 'client%';
SELECT durable.revoke_usage(role)
  FROM unnest('{regress_durable_owner,regress_durable_member,regress_durable_other,regress_durable_monitor}'::regrole[]) role;
DROP FUNCTION client_echo, client_add, client_twice(int), client_twice(text), client_try;
DROP ROLE regress_durable_owner, regress_durable_member, regress_durable_other, regress_durable_monitor, regress_durable_nobody;
