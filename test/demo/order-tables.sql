SELECT o.id AS "order", p.name AS product, o.quantity, o.card, o.status, y.amount AS paid, y.refunded, s.tracking
  FROM orders o
  JOIN products p ON p.id = o.product_id
  LEFT JOIN payments y ON y.order_id = o.id
  LEFT JOIN shipments s ON s.order_id = o.id
 ORDER BY o.id;
SELECT name AS product, price, stock FROM products ORDER BY id;
