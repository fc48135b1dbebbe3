-- Answers of an HTTP API: URLs, escaping, waiting.
\set VERBOSITY terse
CREATE FUNCTION payload_echo(x jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS 'SELECT x';
CREATE FUNCTION payload_fail() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no way'; END $$;
CREATE FUNCTION payload_spy() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.create_check_status_response('payload-1') $$;
CREATE FUNCTION payload_waiter() RETURNS jsonb LANGUAGE sql AS $$ SELECT durable.wait_for_external_event('go') $$;

SELECT key, value FROM jsonb_each_text(durable.create_http_management_payload(durable.start_new('payload_echo', '7', instance_id => 'payload-1'))) ORDER BY key;
SELECT jsonb_pretty(durable.create_check_status_response('payload-1') - 'body');
SELECT durable.create_check_status_response('payload-1') -> 'body' = durable.create_http_management_payload('payload-1') AS same;

-- RFC 3986: all but unreserved characters are percent-encoded as UTF-8.
SELECT durable.start_new('payload_echo', instance_id => id, start_at => '2999-01-01') AS id,
       durable.create_http_management_payload(id) ->> 'terminatePostUri' AS url
  FROM unnest(ARRAY['a b', 'payload-._~', 'ä€😀', '100%', 'a+b&c=d', '!$''()*,;:@[]"<>^`{|}', '.', '..']) id;
SET durable.http_base_url = 'https://example.com/x/y//';
SELECT durable.create_http_management_payload('payload-1') ->> 'sendEventPostUri' AS url;
RESET durable.http_base_url;

-- Waiting.
SELECT durable.wait_for_completion_or_create_check_status_response('payload-1', '1 min');
SELECT durable.start_new('payload_echo', instance_id => 'payload-null');
SELECT durable.wait_for_completion_or_create_check_status_response('payload-null', '1 min');
SELECT durable.start_new('payload_fail', instance_id => 'payload-failed');
SELECT r -> 'statusCode' AS status_code, r -> 'headers' AS headers,
       r -> 'body' ->> 'createdTime' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$' AS created,
       r -> 'body' ->> 'lastUpdatedTime' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$' AS updated,
       (r -> 'body') - '{createdTime,lastUpdatedTime}'::text[] AS body
  FROM durable.wait_for_completion_or_create_check_status_response('payload-failed', '1 min') r;
SELECT durable.terminate('a b', 'enough');
SELECT r -> 'statusCode' AS status_code, (r -> 'body') - '{createdTime,lastUpdatedTime}'::text[] AS body
  FROM durable.wait_for_completion_or_create_check_status_response('a b', '1 min') r;
SELECT durable.start_new('payload_waiter', instance_id => 'payload-waiter');
SELECT r -> 'statusCode' AS status_code, r -> 'headers' AS headers, r -> 'body' = durable.create_http_management_payload('payload-waiter') AS payload
  FROM durable.wait_for_completion_or_create_check_status_response('payload-waiter', '20 ms', '10 ms') r;
SELECT r #>> '{headers,Retry-After}' AS retry_after FROM durable.wait_for_completion_or_create_check_status_response('payload-waiter', '20 ms', '0') r;

-- What is refused.
SELECT durable.create_http_management_payload(NULL);
SELECT durable.create_http_management_payload('payload-none');
SELECT durable.create_check_status_response(NULL);
SELECT durable.create_check_status_response('payload-none');
SELECT durable.wait_for_completion_or_create_check_status_response(NULL);
SELECT durable.wait_for_completion_or_create_check_status_response('payload-none');
SELECT durable.wait_for_completion_or_create_check_status_response('payload-1', NULL);
SELECT durable.wait_for_completion_or_create_check_status_response('payload-1', retry_interval => NULL);
SELECT durable.wait_for_completion_or_create_check_status_response('payload-1', '1 s', '1 s');
SELECT durable.wait_for_completion_or_create_check_status_response('payload-1', '1 s', '-1 s');
SELECT durable.start_new('payload_spy', instance_id => 'payload-spy');
SELECT failure ->> 'sqlstate' AS sqlstate, output FROM durable.wait_for_completion('payload-spy', '1 min');
CREATE ROLE regress_durable_payload LOGIN;
SELECT durable.grant_usage('regress_durable_payload');
SET ROLE regress_durable_payload;
SELECT durable.create_http_management_payload('payload-1');
SELECT durable.create_check_status_response('payload-1');
RESET ROLE;
SELECT durable.revoke_usage('regress_durable_payload');
DROP ROLE regress_durable_payload;

DO $$
BEGIN
    PERFORM durable.terminate(instance_id) FROM durable.instances
      WHERE name LIKE 'payload%' AND runtime_status IN ('Pending', 'Running');
END
$$;
SELECT count(*) FROM durable.instances i WHERE name LIKE 'payload%'
   AND (durable.wait_for_completion(i.instance_id, '1 min')).runtime_status NOT IN ('Completed', 'Failed', 'Terminated');
DO $$ BEGIN PERFORM durable.purge_instance_history(instance_id) FROM durable.instances WHERE name LIKE 'payload%'; END $$;
DROP FUNCTION payload_echo, payload_fail, payload_spy, payload_waiter;
