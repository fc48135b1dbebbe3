-- Quotas of roles: live instances, pending activities, size of payloads, length of histories.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_durable_guest LOGIN;
CREATE ROLE regress_durable_host LOGIN;
SELECT durable.grant_usage('regress_durable_guest'), durable.grant_usage('regress_durable_host');
CREATE SCHEMA quotas;
GRANT ALL ON SCHEMA quotas TO regress_durable_guest, regress_durable_host;
SET search_path = quotas;
CREATE FUNCTION wait() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.wait_for_external_event('go'); END $$;
CREATE FUNCTION bytes(n int) RETURNS text LANGUAGE sql AS $$ SELECT repeat('x', n) $$;
CREATE TABLE effects (n int);
CREATE FUNCTION effect(n int) RETURNS text LANGUAGE sql AS $$ INSERT INTO effects VALUES (n); SELECT repeat('x', n) $$;
GRANT ALL ON effects TO regress_durable_guest, regress_durable_host;
CREATE FUNCTION ended(id text) RETURNS TABLE (status durable.runtime_status, sqlstate text, message text, output text) LANGUAGE sql
AS $$ SELECT runtime_status, failure->>'sqlstate', failure->>'message', left(output::text, 40) FROM durable.wait_for_completion(id, '1 min') $$;

-- who may set them
SET ROLE regress_durable_guest;
SELECT durable.set_quota('regress_durable_guest', live_instances => 1000000);
SELECT durable.unset_quota('regress_durable_guest');
RESET ROLE;
SELECT durable.set_quota('regress_durable_guest', live_instances => -1);
SELECT durable.set_quota('-', live_instances => 3);
SELECT durable.set_quota('regress_durable_guest', live_instances => 3);
SELECT durable.set_quota('regress_durable_host', payload_size => 1000000);
SELECT durable.set_quota(NULL, history_length => 1000000);
SET ROLE regress_durable_guest;
SELECT * FROM durable.quotas ORDER BY role;
RESET ROLE;
SELECT * FROM durable.quotas ORDER BY role;

-- live instances
SET ROLE regress_durable_guest;
SELECT durable.start_new('wait', instance_id => 'quota-' || i) FROM generate_series(1, 3) i;
SELECT durable.start_new('wait', instance_id => 'quota-4');
SELECT durable.start_new('wait');
-- a savepoint that is rolled back leaves no trace
BEGIN;
SELECT durable.terminate('quota-3');
SAVEPOINT a;
SELECT durable.start_new('wait', instance_id => 'quota-4');
ROLLBACK TO a;
COMMIT;
SELECT status FROM ended('quota-3');
SELECT durable.start_new('wait', instance_id => 'quota-4');
-- an id that is taken is told as ever
SELECT durable.start_new('wait', instance_id => 'quota-4');
SELECT durable.start_new('wait', instance_id => 'quota-4', on_duplicate => 'ignore');
-- one that replaces a live one adds none
SELECT durable.start_new('wait', instance_id => 'quota-4', dedupe_statuses => '{}');
-- ten of one statement are refused as a whole
SELECT durable.start_new('wait') FROM generate_series(1, 10);
-- others have theirs
SET ROLE regress_durable_host;
SELECT count(durable.start_new('wait', instance_id => 'quota-host-' || i)) FROM generate_series(1, 5) i;
-- a child that is one too many is its parent's failure
SET ROLE regress_durable_guest;
SELECT durable.terminate('quota-1');
SELECT status FROM ended('quota-1');
CREATE FUNCTION parent() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_sub_orchestrator('wait');
    RETURN 'not reached';
EXCEPTION WHEN configuration_limit_exceeded THEN
    RETURN SQLERRM;
END
$$;
SELECT durable.start_new('parent', instance_id => 'quota-parent');
SELECT * FROM ended('quota-parent');
-- the owner counts, not the caller
RESET ROLE;
CREATE FUNCTION start_for_guest() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = quotas AS $$ SELECT durable.start_new('wait', instance_id => 'quota-definer') $$;
ALTER FUNCTION start_for_guest() OWNER TO regress_durable_guest;
SELECT durable.set_quota('regress_durable_guest', live_instances => 2);
SET ROLE regress_durable_host;
SELECT start_for_guest();
RESET ROLE;
SELECT durable.set_quota('regress_durable_guest');
SET ROLE regress_durable_host;
SELECT start_for_guest();

-- pending activities: those beyond the quota fail at once
RESET ROLE;
SELECT durable.set_quota('regress_durable_guest', pending_activities => 4);
SET ROLE regress_durable_guest;
CREATE FUNCTION fan(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    tasks durable.task[] := ARRAY(SELECT durable.schedule_activity('effect', to_jsonb(1)) FROM generate_series(1, n));
    done int := 0;
    message text;
BEGIN
    FOR i IN 1 .. n LOOP
        BEGIN
            PERFORM durable.await(tasks[i]);
            done := done + 1;
        EXCEPTION WHEN configuration_limit_exceeded THEN
            message := SQLERRM;
        END;
    END LOOP;
    RETURN format('%s of %s done; %s', done, n, message);
END
$$;
SELECT durable.start_new('fan', '4', instance_id => 'quota-fan-4');
SELECT * FROM ended('quota-fan-4');
SELECT durable.start_new('fan', '10', instance_id => 'quota-fan-10');
SELECT * FROM ended('quota-fan-10');
SELECT count(*) FROM effects;
SELECT task_id, event_type, failure->>'activity' AS activity FROM durable.history WHERE instance_id = 'quota-fan-10' AND task_id = 10 ORDER BY sequence_number;

-- the same for those that are awaited one at a time, by instances of their own
CREATE FUNCTION hold() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(59020)';
CREATE FUNCTION holds() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('hold'); END $$;
CREATE PROCEDURE until_ended(count int, deadline timestamptz DEFAULT clock_timestamp() + interval '1 min') LANGUAGE plpgsql AS $$
BEGIN
    WHILE clock_timestamp() < deadline AND (SELECT count(*) < count FROM durable.instances WHERE instance_id LIKE 'quota-holds-%' AND completed_time IS NOT NULL) LOOP
        COMMIT;
    END LOOP;
END $$;
SELECT pg_advisory_lock(59020);
SELECT count(durable.start_new('holds', instance_id => 'quota-holds-' || i)) FROM generate_series(1, 6) i;
CALL until_ended(2);
SELECT pg_advisory_unlock(59020);
CALL until_ended(6);
SELECT runtime_status, failure ->> 'sqlstate' AS sqlstate, failure ->> 'message' AS message, count(*)
  FROM durable.instances WHERE instance_id LIKE 'quota-holds-%' GROUP BY 1, 2, 3 ORDER BY 1;

-- payloads: of clients, an error; of an activity, its failure without effect; of an orchestrator, the end of it
RESET ROLE;
SELECT durable.set_quota('regress_durable_guest', payload_size => 1000);
SET ROLE regress_durable_guest;
SELECT durable.start_new('wait', to_jsonb(bytes(2000)));
SELECT durable.start_new('wait', tags => jsonb_build_object('tag', bytes(2000)));
SELECT durable.start_new('wait', version => bytes(2000));
SELECT durable.raise_event('quota-2', 'go', to_jsonb(bytes(2000)));
SELECT durable.set_custom_status('quota-2', to_jsonb(bytes(2000)));
SELECT durable.start_new('wait' || repeat(' ', 1016));
SELECT durable.terminate('quota-2', bytes(2000));
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'failed'; END $$;
SELECT durable.start_new('fail', instance_id => 'quota-fail');
SELECT * FROM ended('quota-fail');
SELECT durable.rewind('quota-fail', bytes(2000));
SELECT set_config('search_path', 'quotas, ' || bytes(2000), false) <> '' AS set;
SELECT durable.start_new('wait');
SET search_path = quotas;
CREATE FUNCTION payload(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    CASE what
        WHEN 'result' THEN PERFORM durable.call_activity('effect', to_jsonb(2000));
        WHEN 'input' THEN PERFORM durable.call_activity('effect', to_jsonb(bytes(2000)));
        WHEN 'status' THEN PERFORM durable.set_custom_status(to_jsonb(bytes(2000)));
        WHEN 'again' THEN PERFORM durable.continue_as_new(to_jsonb(bytes(2000)));
        WHEN 'version' THEN PERFORM durable.continue_as_new('"output"', version => bytes(2000));
        WHEN 'name' THEN PERFORM durable.call_activity(bytes(2000));
        WHEN 'options' THEN PERFORM durable.call_sub_orchestrator('wait', tags => jsonb_build_object('tag', bytes(2000)));
        WHEN 'event' THEN PERFORM durable.send_event('quota-2', 'go', to_jsonb(bytes(2000)));
        WHEN 'output' THEN RETURN bytes(2000);
    END CASE;
    RETURN 'not reached';
EXCEPTION WHEN configuration_limit_exceeded THEN
    RETURN 'handled';
END
$$;
SELECT durable.start_new('payload', to_jsonb(what), instance_id => 'quota-payload-' || what) FROM unnest('{result,input,status,again,version,name,options,event,output}'::text[]) what;
SELECT what, e.* FROM unnest('{result,input,status,again,version,name,options,event,output}'::text[]) what, ended('quota-payload-' || what) e;
SELECT count(*) FROM effects WHERE n = 2000;

-- history
RESET ROLE;
SELECT durable.set_quota('regress_durable_guest', history_length => 20);
SET ROLE regress_durable_guest;
CREATE FUNCTION chain(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n LOOP
        BEGIN
            PERFORM durable.call_activity('effect', '1');
        EXCEPTION WHEN configuration_limit_exceeded THEN
            NULL;
        END;
    END LOOP;
    RETURN n;
END
$$;
CREATE FUNCTION loop(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM durable.call_activity('effect', '1');
    IF n > 0 THEN
        PERFORM durable.continue_as_new(to_jsonb(n - 1));
    END IF;
    RETURN n;
END
$$;
SELECT durable.start_new('chain', '5', instance_id => 'quota-chain-5'), durable.start_new('chain', '100', instance_id => 'quota-chain-100'),
       durable.start_new('loop', '50', instance_id => 'quota-loop');
SELECT * FROM ended('quota-chain-5');
SELECT * FROM ended('quota-chain-100');
SELECT * FROM ended('quota-loop');
-- events count as well, also those that the instance has not taken in yet
SELECT count(*) FROM durable.history WHERE instance_id = 'quota-2';
SELECT count(durable.raise_event('quota-2', 'other')) FROM generate_series(1, 19);
BEGIN;
SELECT count(durable.raise_event('quota-2', 'other')) FROM generate_series(1, 17);
SAVEPOINT a;
SELECT count(durable.raise_event('quota-2', 'other')) FROM generate_series(1, 2);
ROLLBACK TO a;
SELECT durable.raise_event('quota-2', 'other');
SAVEPOINT a;
SELECT durable.raise_event('quota-2', 'other');
ROLLBACK TO a;
COMMIT;
SELECT durable.raise_event('quota-2', 'other');
SELECT durable.set_custom_status('quota-2', '1');
SELECT durable.suspend('quota-2');
CREATE PROCEDURE taken_in() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 6000 LOOP
        EXIT WHEN (SELECT count(*) >= 20 FROM durable.history WHERE instance_id = 'quota-2');
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;
CALL taken_in();
SELECT durable.raise_event('quota-2', 'other');
-- those of one that begins later
SELECT durable.start_new('wait', instance_id => 'quota-later', start_at => now() + interval '1 year');
SELECT count(durable.raise_event('quota-later', 'other')) FROM generate_series(1, 20);
SELECT count(durable.raise_event('quota-later', 'other')) FROM generate_series(1, 19);
SELECT durable.raise_event('quota-later', 'other');
-- and those that an orchestrator sends, in one turn or in many; the failure is one on every replay
CREATE FUNCTION sender(target text, n int, turns boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    sent int := 0;
    message text;
BEGIN
    FOR i IN 1 .. n LOOP
        BEGIN
            PERFORM durable.send_event(target, 'sent');
            sent := sent + 1;
        EXCEPTION WHEN configuration_limit_exceeded THEN
            message := SQLERRM;
        END;
        IF turns THEN
            PERFORM durable.call_activity('effect', '1');
        END IF;
    END LOOP;
    RETURN format('%s of %s sent; %s', sent, n, message);
END
$$;
RESET ROLE;
SELECT durable.set_quota('regress_durable_guest', history_length => 40);
SET ROLE regress_durable_guest;
SELECT durable.start_new('wait', instance_id => 'quota-target-1', start_at => now() + interval '1 year'), durable.start_new('wait', instance_id => 'quota-target-2', start_at => now() + interval '1 year');
SELECT count(durable.raise_event('quota-target-' || n, 'other')) FROM generate_series(1, 2) n, generate_series(1, 35);
SELECT durable.start_new('sender', '["quota-target-1", 9, false]', 'quota-sender-1'), durable.start_new('sender', '["quota-target-2", 9, true]', 'quota-sender-2');
SELECT * FROM ended('quota-sender-1');
SELECT * FROM ended('quota-sender-2');
-- whatever its history is, one can be ended
SELECT durable.terminate('quota-later', 'enough'), durable.resume('quota-target-1');
SELECT * FROM ended('quota-later');
RESET ROLE;
SELECT durable.set_quota('regress_durable_guest', payload_size => 0);
SET ROLE regress_durable_guest;
SELECT durable.terminate('quota-target-1', 'enough');
SELECT durable.terminate('quota-target-1');
SELECT * FROM ended('quota-target-1');
-- raised, and rewound: what had completed is kept
RESET ROLE;
SELECT durable.set_quota('regress_durable_guest', history_length => 1000);
SET ROLE regress_durable_guest;
SELECT durable.rewind('quota-chain-100');
SELECT * FROM ended('quota-chain-100');

RESET ROLE;
SELECT durable.unset_quota(role) FROM unnest('{regress_durable_guest,regress_durable_host,NULL}'::regrole[]) role;
SELECT * FROM durable.quotas;
SELECT count(durable.terminate(instance_id)) FROM durable.instances WHERE instance_id LIKE 'quota-%' AND runtime_status IN ('Pending', 'Running');
SELECT count((durable.wait_for_completion(instance_id, '1 min')).instance_id) FROM durable.instances WHERE instance_id LIKE 'quota-%';
SELECT * FROM durable_internal.violations;
SELECT count(durable.purge_instance_history(instance_id)) FROM durable.instances WHERE owner IN ('regress_durable_guest'::regrole, 'regress_durable_host'::regrole);
DROP SCHEMA quotas CASCADE;
SELECT durable.revoke_usage('regress_durable_guest'), durable.revoke_usage('regress_durable_host');
DROP ROLE regress_durable_guest, regress_durable_host;
