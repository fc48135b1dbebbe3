\set instance order- :order
\set ECHO queries
SELECT durable.start_new('process_order', to_jsonb(:order), instance_id => :'instance');
