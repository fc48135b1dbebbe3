CREATE FUNCTION book_expense(amount numeric, approval jsonb) RETURNS jsonb
LANGUAGE sql AS $$ SELECT jsonb_build_object('amount', amount, 'approved_by', approval -> 'by') $$;
CREATE FUNCTION expense(amount numeric) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    approval jsonb;
BEGIN
    PERFORM durable.set_custom_status('"awaits approval"');
    approval := durable.wait_for_external_event('Approval');
    RETURN durable.call_activity('book_expense', jsonb_build_object('amount', amount, 'approval', approval));
END
$$;
