\set instance order- :order
\set data '{"approved": ' :approved '}'
\set ECHO queries
\o /dev/null
SELECT durable.raise_event(:'instance', 'approval', :'data');
\o
SELECT runtime_status, output FROM durable.wait_for_completion(:'instance');
