-- durable.max_payload: what is longer as text than that is stored nowhere, however small it is as jsonb.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_durable_wordy LOGIN;
CREATE ROLE regress_durable_curt LOGIN;
SELECT durable.grant_usage('regress_durable_wordy'), durable.grant_usage('regress_durable_curt');
GRANT regress_durable_curt TO regress_durable_wordy;
CREATE SCHEMA limits;
GRANT ALL ON SCHEMA limits TO regress_durable_wordy, regress_durable_curt;
SET search_path = limits;
SHOW durable.max_payload;
-- 10 kB that are 78 MB of text, and as many characters.
CREATE FUNCTION huge() RETURNS jsonb LANGUAGE sql AS $$ SELECT ('[' || repeat('1e131071,', 600) || '1]')::jsonb $$;
CREATE FUNCTION long() RETURNS text LANGUAGE sql AS $$ SELECT repeat(repeat('x', 1000), 70000) $$;
CREATE FUNCTION number(n int) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(('1e' || n)::numeric) $$;
CREATE FUNCTION echo(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION wait() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.wait_for_external_event('go'); END $$;
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'failed'; END $$;
CREATE TABLE effects (n int);
CREATE FUNCTION effect() RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO effects VALUES (1); SELECT huge() $$;
GRANT ALL ON effects TO regress_durable_wordy;
CREATE FUNCTION ended(id text) RETURNS TABLE (status durable.runtime_status, sqlstate text, message text, output text) LANGUAGE sql
AS $$ SELECT runtime_status, failure->>'sqlstate', failure->>'message', left(output::text, 60) FROM durable.wait_for_completion(id, '1 min') $$;

-- Clients.
SET ROLE regress_durable_wordy;
SELECT durable.start_new('wait', instance_id => 'limits-wait'), durable.start_new('fail', instance_id => 'limits-failed');
SELECT status FROM ended('limits-failed');
\set VERBOSITY default
SELECT durable.start_new('echo', huge(), instance_id => 'limits-none');
\set VERBOSITY terse
SELECT durable.start_new('wait', tags => jsonb_build_object('a', huge()), instance_id => 'limits-none');
SELECT durable.start_new('wait', version => long(), instance_id => 'limits-none');
SELECT durable.start_new(long(), instance_id => 'limits-none');
SELECT durable.start_new('wait', instance_id => long());
SELECT durable.raise_event('limits-wait', 'go', huge());
SELECT durable.raise_event('limits-wait', long());
SELECT durable.set_custom_status('limits-wait', huge());
SELECT durable.set_custom_status('limits-failed', huge());
SELECT durable.suspend('limits-wait', long());
SELECT durable.resume('limits-wait', long());
SELECT durable.terminate('limits-wait', long());
SELECT durable.rewind('limits-failed', long());
-- twelve million control characters are 72 MB of JSON
SELECT durable.terminate('limits-wait', repeat(repeat(E'\x01', 1000), 12000));
SELECT set_config('search_path', 'limits, ' || long(), false) <> '' AS set;
SELECT durable.start_new('wait', instance_id => 'limits-none');
SET search_path = limits;
SELECT count(*) FROM durable.instances WHERE instance_id = 'limits-none';
-- A row of theirs in the table of schedules.
INSERT INTO durable.schedules (schedule_name, owner_name, cron_expression, name, search_path, input)
VALUES ('huge', 'regress_durable_wordy', '* * * * *', 'echo', 'limits', huge());
INSERT INTO durable.schedules (schedule_name, owner_name, cron_expression, name, search_path, tags)
VALUES ('small', 'regress_durable_wordy', '* * * * *', 'echo', 'limits', '{"a": 1}');
UPDATE durable.schedules SET version = long() WHERE schedule_name = 'small';
UPDATE durable.schedules SET tags = jsonb_build_object('a', huge()) WHERE schedule_name = 'small';
DELETE FROM durable.schedules;

-- Activities fail without effect, orchestrators whatever they handle.
CREATE FUNCTION payload(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    CASE what
        WHEN 'result' THEN PERFORM durable.call_activity('effect');
        WHEN 'input' THEN PERFORM durable.call_activity('echo', huge());
        WHEN 'name' THEN PERFORM durable.call_activity(long());
        WHEN 'statement' THEN PERFORM durable.call_sql('SELECT ' || quote_literal(long()));
        WHEN 'parameters' THEN PERFORM durable.call_sql('SELECT $1::jsonb', jsonb_build_array(huge()));
        WHEN 'rows' THEN PERFORM durable.call_sql('SELECT limits.huge()');
        WHEN 'child' THEN PERFORM durable.call_sub_orchestrator('echo', huge());
        WHEN 'child_tags' THEN PERFORM durable.call_sub_orchestrator('echo', tags => jsonb_build_object('a', huge()));
        WHEN 'child_version' THEN PERFORM durable.call_sub_orchestrator('echo', version => long());
        WHEN 'child_result' THEN PERFORM durable.call_sub_orchestrator('huge');
        WHEN 'event' THEN PERFORM durable.send_event('limits-wait', 'go', huge());
        WHEN 'status' THEN PERFORM durable.set_custom_status(huge());
        WHEN 'new' THEN PERFORM durable.continue_as_new(huge());
        WHEN 'new_version' THEN PERFORM durable.continue_as_new(version => long());
    END CASE;
    RETURN 'not reached';
EXCEPTION WHEN program_limit_exceeded THEN
    IF what IN ('result', 'rows', 'child_result') THEN
        RETURN SQLERRM;
    END IF;
    RETURN 'handled';
END
$$;
CREATE TABLE kinds (kind text);
INSERT INTO kinds VALUES ('result'), ('input'), ('name'), ('statement'), ('parameters'), ('rows'), ('child'), ('child_tags'), ('child_version'),
    ('child_result'), ('event'), ('status'), ('new'), ('new_version');
SELECT count(durable.start_new('payload', to_jsonb(kind), instance_id => 'limits-' || kind)) FROM kinds;
SELECT kind, e.* FROM kinds, ended('limits-' || kind) e ORDER BY kind COLLATE "C";
SELECT count(*) FROM effects;
SELECT durable.start_new('huge', instance_id => 'limits-output');
SELECT * FROM ended('limits-output');

-- The failure of another replay is what it is, however large the input is.
CREATE FUNCTION change() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('echo', '1');
    PERFORM durable.wait_for_external_event('go');
    RETURN 'not reached';
END
$$;
SELECT durable.start_new('change', instance_id => 'limits-change');
DO $$
BEGIN
    WHILE NOT EXISTS (SELECT FROM durable.history WHERE instance_id = 'limits-change' AND event_type = 'EventSubscribed') LOOP
        COMMIT;
    END LOOP;
END
$$;
CREATE OR REPLACE FUNCTION change() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('echo', ('[' || repeat('1e131071,', 9999) || '1]')::jsonb);
    RETURN 'not reached';
EXCEPTION WHEN OTHERS THEN
    RETURN 'handled';
END
$$;
SELECT durable.raise_event('limits-change', 'go');
SELECT status, sqlstate FROM ended('limits-change');
SELECT failure->>'detail' AS detail FROM durable.get_status('limits-change');

-- Quotas count the text as well; of an event sent to an instance of another role, that role's counts.
RESET ROLE;
SELECT durable.set_quota('regress_durable_curt', payload_size => 1000);
SET ROLE regress_durable_curt;
SELECT durable.start_new('wait', instance_id => 'limits-curt');
SELECT durable.start_new('echo', number(999), instance_id => 'limits-fits');
SELECT durable.start_new('echo', number(1000));
SELECT durable.start_new('echo', to_jsonb(repeat(E'\x01', 200)));
SELECT durable.raise_event('limits-curt', 'go', number(1000));
SELECT durable.terminate('limits-curt', repeat(E'\x01', 170));
SET ROLE regress_durable_wordy;
CREATE FUNCTION send(n int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.send_event('limits-curt', 'go', number(n));
    RETURN 'sent';
EXCEPTION WHEN configuration_limit_exceeded THEN
    RETURN SQLERRM;
END
$$;
SELECT durable.start_new('send', '1000', instance_id => 'limits-send-1000');
SELECT * FROM ended('limits-send-1000');
SELECT durable.start_new('send', '999', instance_id => 'limits-send-999');
SELECT * FROM ended('limits-send-999');
SELECT status FROM ended('limits-curt');

-- How long a text is, is computed exactly: a quota of nothing tells.  The control characters make the text longer than the jsonb.
RESET ROLE;
CREATE TABLE texts (x jsonb);
INSERT INTO texts VALUES ('null'), ('true'), ('false'), ('0'), ('-0.00'), ('"a\"\\\u0001\n\t\u001f\u007f/é€"'), ('""'), ('[]'), ('{}'), ('[[]]'),
    ('[1, -2.50, "x", null, true, {"a": [], "b\n": {"c": false}}]'), ('1e131071'), ('-1e-16383'), ('123456789.000100'), ('9999'), ('10000'), ('-99999999.5'), ('0.00001'),
    ('1.5e63'), ('1e255'), ('1e256'), ('1e-63'), ('1e-64'), ('1e-252'), ('-1e-256'), ('1e4'), ('1e3'), ('10e2'), ('0.1'), ('0.0001');
INSERT INTO texts SELECT to_jsonb((random() * 10 ^ (i % 40 - 20))::numeric) FROM generate_series(1, 200) i;
UPDATE texts SET x = jsonb_build_array(x, repeat(E'\x01', 1000));
SELECT durable.set_quota('regress_durable_curt', payload_size => 0);
GRANT SELECT ON texts TO regress_durable_curt;
SET ROLE regress_durable_curt;
CREATE FUNCTION size(x jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.start_new('echo', x);
EXCEPTION WHEN configuration_limit_exceeded THEN
    RETURN substring(SQLERRM FROM 'a payload of (\d+) bytes');
END
$$;
SELECT count(*), count(size(x)) AS refused FROM texts;
SELECT left(x::text, 30) AS x, size(x), octet_length(x::text) AS text FROM texts WHERE size(x) <> octet_length(x::text);
SELECT count(*) FROM texts WHERE durable.text_size(x) <> octet_length(x::text);
RESET ROLE;

SELECT durable.unset_quota('regress_durable_curt');

-- A history is shown up to 16 MB of the text that is asked for, however small it is as jsonb. Its size is counted exactly.
SET ROLE regress_durable_wordy;
CREATE FUNCTION wide(n int) RETURNS jsonb LANGUAGE sql AS $$ SELECT ('[' || repeat('1e131071,', n) || '1]')::jsonb $$;
SELECT count(durable.start_new('echo', wide(n), instance_id => 'limits-history-' || n)) FROM unnest('{2,75,150}'::int[]) n;
SELECT n, status FROM unnest('{2,75,150}'::int[]) n, ended('limits-history-' || n);
SELECT durable.history_size('limits-history-2', o, i)
       = 2 * 200 + octet_length('echo') + (i::int + o::int) * octet_length(wide(2)::text) AS size
  FROM unnest('{f,t}'::boolean[]) o, unnest('{f,t}'::boolean[]) i;
SELECT durable.history_size('limits-none'), durable.history_size(NULL);
CREATE FUNCTION shown(n int, output boolean, input boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_array_length((durable.get_status('limits-history-' || n, true, output, input)).history);
EXCEPTION WHEN program_limit_exceeded THEN
    RETURN SQLSTATE;
END
$$;
SELECT n, output, input, shown(n, output, input)
  FROM unnest('{2,75,150}'::int[]) n, unnest('{f,t}'::boolean[]) output, unnest('{f,t}'::boolean[]) input ORDER BY n, output, input;
SELECT (durable.get_status('limits-history-150')).runtime_status;
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT durable.get_status('limits-history-150', show_history => true);
\set VERBOSITY terse
RESET ROLE;

SELECT durable.terminate('limits-wait');
SELECT status FROM ended('limits-wait');
SELECT count(durable.purge_instance_history(instance_id)) > 0 AS purged FROM durable.instances WHERE instance_id LIKE 'limits-%';
DROP SCHEMA limits CASCADE;
SELECT durable.revoke_usage('regress_durable_wordy'), durable.revoke_usage('regress_durable_curt');
DROP ROLE regress_durable_wordy, regress_durable_curt;
