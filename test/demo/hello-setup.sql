CREATE FUNCTION say_hello(name text) RETURNS text
LANGUAGE sql AS $$ SELECT 'Hello ' || name || '!' $$;

CREATE FUNCTION hello_sequence() RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    greetings jsonb := '[]';
BEGIN
    greetings := greetings || durable.call_activity('say_hello', '"Tokyo"');
    greetings := greetings || durable.call_activity('say_hello', '"Seattle"');
    greetings := greetings || durable.call_activity('say_hello', '"London"');
    RETURN greetings;
END
$$;
