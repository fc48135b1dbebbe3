\set ECHO queries
SELECT durable.start_new('hello_sequence', instance_id => 'hello');
SELECT runtime_status, output FROM durable.wait_for_completion('hello');
