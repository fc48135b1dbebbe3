CREATE TABLE products (id int PRIMARY KEY, name text, price numeric, stock int);
CREATE TABLE orders (id int PRIMARY KEY, product_id int REFERENCES products, quantity int, card text,
                     status text DEFAULT 'new');
CREATE TABLE payments (order_id int PRIMARY KEY REFERENCES orders, amount numeric, refunded boolean DEFAULT false);
CREATE TABLE shipments (order_id int PRIMARY KEY REFERENCES orders, tracking text);

INSERT INTO products VALUES (1, 'kettle', 40, 10), (2, 'teapot', 25, 3);
INSERT INTO orders VALUES (1, 1, 1, 'good'), (2, 1, 2, 'declined'), (3, 2, 5, 'good'), (4, 2, 2, 'good');

-- Activities: ordinary functions. What one writes commits together with the fact that it ran.
CREATE FUNCTION reserve_stock(order_id int) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE products p SET stock = stock - o.quantity
      FROM orders o WHERE o.id = order_id AND p.id = o.product_id AND p.stock >= o.quantity;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'out of stock';
    END IF;
END
$$;

CREATE FUNCTION release_stock(order_id int) RETURNS void
LANGUAGE sql AS $$
    UPDATE products p SET stock = stock + o.quantity
      FROM orders o WHERE o.id = $1 AND p.id = o.product_id
$$;

CREATE FUNCTION charge_payment(order_id int) RETURNS numeric
LANGUAGE plpgsql AS $$
DECLARE
    ordered orders := (SELECT o FROM orders o WHERE o.id = charge_payment.order_id);
    amount numeric := ordered.quantity * (SELECT p.price FROM products p WHERE p.id = ordered.product_id);
BEGIN
    IF ordered.card = 'declined' THEN
        RAISE EXCEPTION 'card declined' USING DETAIL = format('The bank refused %s.', amount);
    END IF;
    INSERT INTO payments VALUES (ordered.id, amount);
    RETURN amount;
END
$$;

CREATE FUNCTION refund_payment(order_id int) RETURNS void
LANGUAGE sql AS $$ UPDATE payments p SET refunded = true WHERE p.order_id = $1 $$;

CREATE FUNCTION ship_order(order_id int) RETURNS text
LANGUAGE sql AS $$ INSERT INTO shipments VALUES ($1, 'parcel ' || $1) RETURNING tracking $$;

CREATE FUNCTION close_order(order_id int, status text) RETURNS void
LANGUAGE sql AS $$ UPDATE orders o SET status = $2 WHERE o.id = $1 $$;

-- The orchestrator: control flow only. It may wait for a day, or for a restart, at any of its calls.
CREATE FUNCTION process_order(order_id int) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    this jsonb := to_jsonb(order_id);
    reserved boolean := false;
    charged boolean := false;
    approval jsonb;
    tracking jsonb;
BEGIN
    BEGIN
        PERFORM durable.call_activity('reserve_stock', this);
        reserved := true;
        PERFORM durable.call_activity('charge_payment', this);
        charged := true;

        PERFORM durable.set_custom_status('"awaiting approval"');
        approval := durable.wait_for_external_event('approval', timeout => '1 day',
                                                    default_value => '{"approved": false}');
        IF NOT (approval->>'approved')::boolean THEN
            RAISE EXCEPTION 'not approved';
        END IF;
        tracking := durable.call_activity('ship_order', this);
    EXCEPTION WHEN OTHERS THEN
        -- Undo what was done, in reverse order.
        IF charged THEN
            PERFORM durable.call_activity('refund_payment', this);
        END IF;
        IF reserved THEN
            PERFORM durable.call_activity('release_stock', this);
        END IF;
        PERFORM durable.call_activity('close_order', jsonb_build_array(order_id, 'cancelled'));
        PERFORM durable.set_custom_status('"cancelled"');
        RETURN jsonb_build_object('status', 'cancelled', 'reason', SQLERRM);
    END;
    PERFORM durable.call_activity('close_order', jsonb_build_array(order_id, 'shipped'));
    PERFORM durable.set_custom_status('"shipped"');
    RETURN jsonb_build_object('status', 'shipped', 'tracking', tracking);
END
$$;
